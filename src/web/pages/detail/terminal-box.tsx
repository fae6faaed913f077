/**
 * The screen of a terminal. It outlives its shells: what one has written stands above the next, which is announced.
 * Ctrl-Shift-C copies what is selected, Ctrl-Shift-V pastes (or the browser's own menu). Tab belongs to the shell, so
 * Ctrl-Shift-↑ is the way out of it.
 */
import '@xterm/xterm/css/xterm.css'
import { FitAddon } from '@xterm/addon-fit'
import { Terminal } from '@xterm/xterm'
import { useEffect, useRef, useState } from 'react'
import { openTerminal } from './exec-socket.ts'
import type { TerminalEnd } from './exec-socket.ts'
import { allowSpanStyles } from './span-styles.ts'

const SCROLLBACK_LINES = 5000
const COLOURS = { background: '#0b1117', foreground: '#d7e0e8', cursor: '#45bfd3', selectionBackground: '#274b5a' }
/** Whatever a program had switched that ended without switching it back: its screen, colours, mouse, cursor, pasting. */
const AS_NEW = ['?1047l', '!p', '0m', '?1000l', '?1002l', '?1003l', '?1006l', '?2004l', '?25h'].map(code => `\u001B[${code}`).join('')
const FAINT = '\u001B[2m'
const PLAIN = '\u001B[0m'

allowSpanStyles()

export type TerminalState = { readonly kind: 'opening' } | { readonly kind: 'open' } | { readonly kind: 'over'; readonly end: TerminalEnd }

interface BoxProps {
  readonly id: string
  readonly command: readonly string[]
  /** Counts the shells: another number opens the next one. */
  readonly shell: number
  readonly onState: (state: TerminalState) => void
  /** The screen once it is there, and whenever something in it is selected or no longer. */
  readonly onScreen: (terminal: Terminal, hasSelection: boolean) => void
  readonly onLeave: () => void
}

export function TerminalBox({ id, command, shell, onState, onScreen, onLeave }: BoxProps) {
  const box = useRef<HTMLDivElement>(null)
  const [terminal, setTerminal] = useState<Terminal | null>(null)
  const isFirst = useRef(true)
  const commandText = JSON.stringify(command)

  useEffect(() => {
    const element = box.current
    if (element === null) return
    const made = new Terminal({ fontFamily: "'JetBrains Mono Variable', ui-monospace, monospace", fontSize: 13, scrollback: SCROLLBACK_LINES, theme: COLOURS, cursorBlink: true, screenReaderMode: true })
    const fit = new FitAddon()
    made.loadAddon(fit)
    made.open(element)
    fit.fit()
    made.focus()
    made.attachCustomKeyEventHandler(event => handleKey(event, made, onLeave))
    made.onSelectionChange(() => onScreen(made, made.hasSelection()))
    const observer = new ResizeObserver(() => fit.fit())
    observer.observe(element)
    isFirst.current = true
    setTerminal(made)
    return () => {
      observer.disconnect()
      setTerminal(null)
      made.dispose()
    }
  }, [id, onScreen, onLeave])

  useEffect(() => {
    if (terminal === null) return
    if (!isFirst.current) terminal.write(`${AS_NEW}\r\n${FAINT}── a new shell, ${new Date().toLocaleTimeString()} ──${PLAIN}\r\n`)
    isFirst.current = false
    allowTyping(terminal, true)
    terminal.focus()
    onState({ kind: 'opening' })
    const session = openTerminal(id, JSON.parse(commandText) as string[], { rows: terminal.rows, cols: terminal.cols }, {
      onStarted: () => onState({ kind: 'open' }),
      onOutput: bytes => terminal.write(bytes),
      onEnd: end => {
        allowTyping(terminal, false)
        onState({ kind: 'over', end })
      },
    })
    const typing = terminal.onData(text => session.write(text))
    const sizing = terminal.onResize(size => session.resize(size))
    return () => {
      typing.dispose()
      sizing.dispose()
      session.close()
    }
  }, [terminal, id, commandText, shell, onState])

  return <div className="terminal-box" ref={box} data-testid="terminal" />
}

function allowTyping({ options }: Terminal, isAllowed: boolean): void {
  options.cursorBlink = isAllowed
  options.disableStdin = !isAllowed
}

/** What is selected, into the clipboard. */
export function copySelection(terminal: Terminal): Promise<void> {
  // Pages of http are given no clipboard, except on this machine; there the terminal's own answer to "copy" is left.
  if (navigator.clipboard !== undefined) return navigator.clipboard.writeText(terminal.getSelection())
  terminal.focus()
  return document.execCommand('copy') ? Promise.resolve() : Promise.reject(new Error('The browser gives pages of http no clipboard: copy by the browser’s own menu.'))
}

/** Keys with Ctrl-Shift are the terminal's own, as everywhere; false keeps the key from the shell. */
function handleKey(event: KeyboardEvent, terminal: Terminal, onLeave: () => void): boolean {
  if (event.type !== 'keydown' || !event.ctrlKey || !event.shiftKey) return true
  if (event.code === 'KeyC') {
    event.preventDefault()
    if (terminal.hasSelection()) {
      copySelection(terminal).catch(() => {
        // The button beside the terminal tells why.
      })
    }
    return false
  }
  if (event.code === 'ArrowUp') {
    event.preventDefault()
    onLeave()
    return false
  }
  // The browser pastes into the terminal's own text field.
  return event.code !== 'KeyV'
}
