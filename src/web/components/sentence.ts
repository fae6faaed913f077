/** What went wrong, as a sentence for a person. Pure. */

export function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
