/**
 * The page's nonce, on every style element that a script makes: Mantine, xterm.js and the scroll lock each make some,
 * and the policy lets no other in. Read once, before anything is drawn.
 */
export const styleNonce: string = document.querySelector<HTMLMetaElement>('meta[property="csp-nonce"]')?.nonce ?? ''

export function markStyles(): void {
  const make = document.createElement.bind(document) as (name: string, options?: ElementCreationOptions) => HTMLElement
  const makeMarked = (name: string, options?: ElementCreationOptions): HTMLElement => {
    const element = make(name, options)
    if (element instanceof HTMLStyleElement) element.nonce = styleNonce
    return element
  }
  document.createElement = makeMarked as typeof document.createElement
}
