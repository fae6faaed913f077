/** `node src/server/main.ts`: a server with what the environment says, until it is told to end. */
import { asBerthError } from '../instance/errors.ts'
import { readConfig } from './config.ts'
import type { ServerConfig } from './config.ts'
import { runServer } from './server.ts'
import type { RunningServer } from './server.ts'

/** Serves until SIGINT or SIGTERM; a second one ends at once. Resolves when everything is closed. */
export async function serveUntilSignal(config: ServerConfig, onReady: (server: RunningServer) => void): Promise<void> {
  const server = await runServer(config)
  const ended = new Promise<void>((resolve, reject) => {
    let asked = false
    const end = () => {
      if (asked) process.exit(130)
      asked = true
      server.close().then(resolve, reject)
    }
    process.on('SIGINT', end)
    process.on('SIGTERM', end)
  })
  onReady(server)
  await ended
}

/** What a person sees when a server is ready; the key only when nobody was told it yet. */
export function readySentences(server: RunningServer): readonly string[] {
  const { adminKey, facts, mcpUrl, warnings } = server
  return [
    `Berth serves at ${server.url} (${facts.hypervisor}, ${facts.accelerator}: ${facts.acceleratorReason})`,
    ...(mcpUrl === null ? [] : [`MCP for agents at ${mcpUrl}`]),
    ...(adminKey.isNew ? [`Key: ${adminKey.secret}`, `It is kept in ${adminKey.file} and not shown again.`] : []),
    ...warnings,
  ]
}

if (import.meta.main) {
  try {
    await serveUntilSignal(readConfig(process.env), server => {
      for (const sentence of readySentences(server)) process.stdout.write(`${sentence}\n`)
    })
  } catch (error) {
    process.stderr.write(`${asBerthError(error).message}\n`)
    process.exitCode = 1
  }
}
