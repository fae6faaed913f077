/** Text into the clipboard. Browsers give none to pages of http, except to those of this machine: there a field that nobody sees is copied. */
import { useEffect, useRef, useState } from 'react'
import { tellError } from './notice.tsx'

const SAID_MS = 1500

export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard !== undefined) return navigator.clipboard.writeText(text)
  const active = document.activeElement
  const field = document.createElement('textarea')
  field.className = 'visually-hidden'
  field.readOnly = true
  field.value = text
  // Beside what has the focus: a dialog holds it fast.
  ;(active?.parentElement ?? document.body).append(field)
  field.select()
  const isCopied = document.execCommand('copy')
  field.remove()
  if (active instanceof HTMLElement) active.focus({ preventScroll: true })
  if (!isCopied) throw new Error('The browser gives pages of http no clipboard: select the text, and copy it by the browser’s own menu.')
}

/** Copies, and says so for a moment. */
export function useCopy(text: string): { readonly copied: boolean; readonly copy: () => void } {
  const [copied, setCopied] = useState(false)
  const timer = useRef<number | undefined>(undefined)
  useEffect(() => () => window.clearTimeout(timer.current), [])
  const copy = () => {
    copyText(text).then(
      () => {
        setCopied(true)
        window.clearTimeout(timer.current)
        timer.current = window.setTimeout(() => setCopied(false), SAID_MS)
      },
      (error: unknown) => tellError('It was not copied', error),
    )
  }
  return { copied, copy }
}
