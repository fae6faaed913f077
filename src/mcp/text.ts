/**
 * Bytes and text from guests, made fit for a model and its client: bounded, and free of what a terminal would obey.
 *
 * What a guest writes is data. Escape sequences and other control characters can hide text from a person who
 * approves a call, so every rendering loses them; structured output keeps the bytes as they were.
 */

const ESCAPE = '\u001b'
const BELL = '\u0007'
const CSI = '\u009b'
const CSI_REST = String.raw`[0-?]*[ -/]*[@-~]`
/** CSI, OSC and its like up to their end, and the short escapes. */
const SEQUENCES = new RegExp(`${ESCAPE}(?:\\[${CSI_REST}|[\\]PX^_][^${BELL}${ESCAPE}]*(?:${BELL}|${ESCAPE}\\\\)?|[ -/]*[0-~])|${CSI}${CSI_REST}`, 'g')
/** Every other control character but tab and newline; what turns the direction of text; invisible tags. */
const CONTROLS = /(?![\t\n])\p{Cc}|[\u200e\u200f\u202a-\u202e\u2066-\u2069\u{e0000}-\u{e007f}]/gu

/** Text without anything that a terminal would obey. */
export function plain(text: string): string {
  return text.replaceAll('\r\n', '\n').replace(SEQUENCES, '').replace(CONTROLS, '')
}

/** The last line that holds something, for a notice of progress. */
export function lastLine(data: Uint8Array): string {
  const lines = plain(Buffer.from(data).toString('utf-8')).split('\n')
  return lines.findLast(line => line.trim() !== '')?.trim() ?? ''
}

/** At most `limit` characters, with a note where it was cut. */
export function shortened(text: string, limitCharacters: number): string {
  return text.length <= limitCharacters ? text : `${text.slice(0, limitCharacters)}\n[… ${text.length - limitCharacters} characters more]`
}
