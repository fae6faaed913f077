/**
 * Lets xterm.js colour its cells. It does so by `setAttribute('style', …)`, which our policy forbids as it forbids every
 * style that stands in markup; the same, set by a script through `style`, is allowed.
 */
export function allowSpanStyles(): void {
  HTMLSpanElement.prototype.setAttribute = function setAttribute(this: HTMLSpanElement, name: string, value: string) {
    if (name === 'style') this.style.cssText = value
    else Element.prototype.setAttribute.call(this, name, value)
  }
}
