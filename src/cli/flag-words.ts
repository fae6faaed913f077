/** Refusals of the server in the words of who typed them: it names fields of its API, where a person wrote flags. */

/** What a field of the native API is called at the command line. One that several commands spell differently has a plain word. */
const FLAGS: ReadonlyMap<string, string> = new Map([
  ['vcpus', '--cpus'],
  ['memoryBytes', '--memory'],
  ['overlayBytes', '--disk'],
  ['overlayBytes of a volume', 'overlay='],
  ['sizeBytes', 'The size'],
  ['user', '--user'],
  ['hostname', '--hostname'],
  ['idleAfterMs', '--idle-after'],
  ['ttlMs', '--ttl'],
  ['network.ports', '--publish'],
  ['restart.maxAttempts', '--restart'],
])

/** The sentence with the flag for the field with which it begins; any other is as it was. */
export function inFlagWords(sentence: string, field: unknown): string {
  const flag = typeof field === 'string' ? FLAGS.get(field) : undefined
  if (flag === undefined) return sentence
  const named = [`${String(field)} `, `The field "${String(field)}" `].find(beginning => sentence.startsWith(beginning))
  return named === undefined ? sentence : `${flag} ${sentence.slice(named.length)}`
}
