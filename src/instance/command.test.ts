import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  ARGUMENT_LIMIT,
  ARGUMENT_LIMIT_BYTES,
  DEFAULT_PATH,
  checkCommand,
  resolveCommand,
} from './command.ts'
import type { CommandWishes } from './command.ts'
import { BerthError } from './errors.ts'
import type { ImageConfig } from './model.ts'

const IMAGE: ImageConfig = {
  entrypoint: ['/entry'],
  cmd: ['serve', '--port', '80'],
  env: { PATH: '/image/bin', LANG: 'C' },
  workingDir: '/srv',
  user: 'app:app',
  stopSignal: null,
  exposedPorts: [],
}
const NO_WISHES: CommandWishes = { entrypoint: null, cmd: null, env: {}, user: null, workingDir: null }

function refuses(work: () => void, message: RegExp): void {
  assert.throws(work, (error: unknown) => error instanceof BerthError && error.code === 'invalid_request' && message.test(error.message))
}

test('entrypoint and command combine as Docker combines them', () => {
  const table: readonly (readonly [readonly string[] | null, readonly string[] | null, readonly string[]])[] = [
    [null, null, ['/entry', 'serve', '--port', '80']],
    [null, ['x'], ['/entry', 'x']],
    [null, [], ['/entry', 'serve', '--port', '80']],
    [['/own'], null, ['/own']],
    [['/own'], [], ['/own']],
    [['/own', '-v'], ['x'], ['/own', '-v', 'x']],
    [[], null, ['serve', '--port', '80']],
    [[], ['x'], ['x']],
  ]
  for (const [entrypoint, cmd, command] of table) {
    assert.deepEqual(resolveCommand(IMAGE, { ...NO_WISHES, entrypoint, cmd }).command, command)
  }
})

test('an image without a command needs one from the instance', () => {
  const bare = { ...IMAGE, entrypoint: [], cmd: [] }
  refuses(() => resolveCommand(bare, NO_WISHES), /names no command/)
  assert.deepEqual(resolveCommand(bare, { ...NO_WISHES, cmd: ['sh'] }).command, ['sh'])
  refuses(() => resolveCommand(bare, { ...NO_WISHES, cmd: ['', 'x'] }), /names no command/)
})

test('environment, user and directory come from the instance, else the image, else a default', () => {
  const own = resolveCommand(IMAGE, { ...NO_WISHES, env: { LANG: 'de', A: '' }, user: '1000', workingDir: '/w' })
  assert.deepEqual(own.env, { PATH: '/image/bin', LANG: 'de', A: '' })
  assert.deepEqual([own.user, own.workingDir], ['1000', '/w'])
  const image = resolveCommand(IMAGE, NO_WISHES)
  assert.deepEqual([image.user, image.workingDir], ['app:app', '/srv'])
  const bare = resolveCommand({ ...IMAGE, env: {}, user: '', workingDir: '' }, NO_WISHES)
  assert.deepEqual(bare, { command: image.command, env: { PATH: DEFAULT_PATH }, user: '0', workingDir: '/' })
  assert.equal(resolveCommand({ ...IMAGE, workingDir: 'app' }, NO_WISHES).workingDir, '/app')
  refuses(() => resolveCommand(IMAGE, { ...NO_WISHES, workingDir: 'w' }), /absolute path/)
})

test('whatever an instance wishes for as a command ends its argv', () => {
  const words = fc.array(fc.stringMatching(/^[a-z/-]{1,8}$/), { minLength: 1, maxLength: 5 })
  fc.assert(
    fc.property(fc.option(words, { nil: null }), words, (entrypoint, cmd) => {
      const { command } = resolveCommand(IMAGE, { ...NO_WISHES, entrypoint, cmd })
      assert.deepEqual(command, [...(entrypoint ?? IMAGE.entrypoint), ...cmd])
    }),
  )
})

test('an argv has Linux’s limits', () => {
  checkCommand(Array.from({ length: ARGUMENT_LIMIT }, () => 'x'))
  refuses(() => checkCommand(Array.from({ length: ARGUMENT_LIMIT + 1 }, () => 'x')), /4097 arguments/)
  checkCommand(['x', 'y'.repeat(ARGUMENT_LIMIT_BYTES)])
  refuses(() => checkCommand(['x', 'y'.repeat(ARGUMENT_LIMIT_BYTES + 1)]), /Argument 1/)
  refuses(() => checkCommand(['x', ...Array.from({ length: 9 }, () => 'y'.repeat(120_000))]), /at most 1048576/)
  refuses(() => checkCommand(['x', 'a\0b']), /zero byte/)
  refuses(() => checkCommand([]), /is empty/)
  checkCommand(['x', ''])
})
