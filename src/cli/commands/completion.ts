/**
 * `berth completion bash|zsh|fish`: a small script that asks `berth __complete` for what may come next, so that
 * all shells know the same: commands, flags, and the names that the server knows.
 */
import type { Argument, Command } from 'commander'
import type { KeyBody } from '../../dialects/native/schema/access.ts'
import type { ImageBody } from '../../dialects/native/schema/images.ts'
import type { InstanceBody } from '../../dialects/native/schema/instances.ts'
import type { FileSystemBody } from '../../dialects/native/schema/file-systems.ts'
import type { SnapshotBody } from '../../dialects/native/schema/snapshots.ts'
import type { VolumeBody } from '../../dialects/native/schema/volumes.ts'
import type { Client } from '../client.ts'
import type { Context } from '../context.ts'
import { CliError } from '../failure.ts'
import { usage } from '../flags.ts'
import { print, printLines } from '../output.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const

const BASH = `# berth completion for bash: source <(berth completion bash)
_berth() {
  local IFS=$'\\n' word=\${COMP_WORDS[COMP_CWORD]}
  COMPREPLY=($(compgen -W "$("\${COMP_WORDS[0]}" __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "$word"))
}
complete -o default -F _berth berth
`
const ZSH = `#compdef berth
# berth completion for zsh: source <(berth completion zsh)
_berth() {
  local -a found
  found=("\${(@f)$("\${words[1]}" __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "\${found[1]}" ]]; then compadd -a found; else _files; fi
}
compdef _berth berth
`
const FISH = `# berth completion for fish: berth completion fish | source
function __berth_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete -- $words[2..-1] 2>/dev/null
end
complete -c berth -f -a '(__berth_complete)'
`
const SCRIPTS = { bash: BASH, zsh: ZSH, fish: FISH } as const

export function register(program: Command, context: Context): void {
  program
    .command('completion <shell>')
    .description('print the completion script for bash, zsh or fish')
    .addHelpText('after', '\nTo use it: source <(berth completion bash), or put that line into ~/.bashrc.')
    .action(async (shell: string) => {
      const known = SHELLS.find((each) => each === shell)
      if (known === undefined) throw usage(`There is no completion for "${shell}": name one of ${SHELLS.join(', ')}.`)
      await print(SCRIPTS[known])
    })
  program
    .command('__complete [words...]', { hidden: true })
    .passThroughOptions()
    .action(async (words: readonly string[]) => {
      const given = words[0] === '--' ? words.slice(1) : words
      const { makeProgram } = await import('../program.ts')
      const whole = await makeProgram(null, context.env)
      await printLines(await candidates(whole, given, () => context.connect(program)))
    })
}

/** What may stand where the last word is. */
export async function candidates(program: Command, words: readonly string[], connect: () => Client): Promise<readonly string[]> {
  const current = words.at(-1) ?? ''
  const before = words.slice(0, -1)
  let command = program
  let operands = 0
  for (let at = 0; at < before.length; at += 1) {
    const word = before[at] ?? ''
    if (word === '--') return []
    if (word.startsWith('-')) {
      if (takesValue(command, word)) at += 1
      continue
    }
    const next = command.commands.find((each) => each.name() === word || each.aliases().includes(word))
    if (next === undefined) operands += 1
    else command = next
  }
  const last = before.at(-1) ?? ''
  if (last.startsWith('-') && takesValue(command, last)) return []
  if (current.startsWith('-')) return flagsOf(command).filter((flag) => flag.startsWith(current))
  const names = command.commands.filter((each) => !isHidden(each)).map((each) => each.name())
  const found = names.length > 0 ? names : await valuesOf(command, operands, connect)
  return found.filter((each) => each.startsWith(current))
}

function takesValue(command: Command, word: string): boolean {
  const option = command.options.find(({ long, short }) => long === word || short === word)
  return option !== undefined && (option.required || option.optional)
}

function flagsOf(command: Command): readonly string[] {
  return [...command.options.flatMap(({ long, hidden }) => (long === undefined || hidden ? [] : [long])), '--help']
}

function isHidden(command: Command): boolean {
  return command.name().startsWith('__')
}

/** The names that the server knows for an argument; none if it can't be asked. */
async function valuesOf(command: Command, operands: number, connect: () => Client): Promise<readonly string[]> {
  const args: readonly Argument[] = command.registeredArguments
  const argument = args[Math.min(operands, args.length - 1)]
  if (argument === undefined || (operands >= args.length && !argument.variadic)) return []
  try {
    switch (argument.name()) {
      case 'instance':
        return (await connect().list<InstanceBody>('/instances')).map(({ name }) => name)
      case 'source':
      case 'destination':
        return (await connect().list<InstanceBody>('/instances')).map(({ name }) => `${name}:`)
      case 'image':
        return (await connect().list<ImageBody>('/images')).map(({ name }) => name)
      case 'name':
      case 'target':
        return command.parent?.name() === 'images' ? (await connect().list<ImageBody>('/images')).map(({ name }) => name) : []
      case 'snapshot':
        return (await connect().list<SnapshotBody>('/snapshots')).map(({ name, id }) => name ?? id)
      case 'volume':
        return (await connect().list<VolumeBody>('/volumes')).map(({ name }) => name)
      case 'filesystem':
        return (await connect().list<FileSystemBody>('/file-systems')).map(({ name }) => name)
      case 'key':
        return (await connect().list<KeyBody>('/keys')).map(({ name }) => name)
      case 'shell':
        return SHELLS
      default:
        return []
    }
  } catch (error) {
    if (error instanceof CliError) return []
    throw error
  }
}
