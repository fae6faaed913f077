import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, test } from 'node:test'
import fc from 'fast-check'
import type { ProjectId } from '../instance/model.ts'
import { openStore } from './open.ts'
import { openSealing, parseSealingKey, Sealing, SEALING_KEY_FILE } from './sealing.ts'

const VALUE = 'correct-horse-battery'
const directories: string[] = []
const directory = () => {
  const made = mkdtempSync(join(tmpdir(), 'berth-sealing-'))
  directories.push(made)
  return made
}
after(() => directories.forEach(each => rmSync(each, { recursive: true })))

test('any text is sealed and opened again, for its own place alone, and never twice alike', () => {
  const sealing = new Sealing(randomBytes(32))
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string(), fc.string(), (text, place, other) => {
      const sealed = sealing.seal(text, place)
      assert.equal(sealing.open(sealed, place), text)
      assert.notEqual(sealing.seal(text, place).value, sealed.value)
      if (place !== other) assert.equal(sealing.open(sealed, other), null)
    }),
  )
})

test('what was changed, is cut, or is of another key opens to nothing', () => {
  const sealing = new Sealing(randomBytes(32))
  const sealed = sealing.seal(VALUE, 'here')
  const bytes = Buffer.from(sealed.value, 'base64')
  for (let at = 0; at < bytes.length; at += 1) {
    const changed = Buffer.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ 1
    assert.equal(sealing.open({ ...sealed, value: changed.toString('base64') }, 'here'), null)
    assert.equal(sealing.open({ ...sealed, value: bytes.subarray(0, at).toString('base64') }, 'here'), null)
  }
  assert.equal(new Sealing(randomBytes(32)).open(sealed, 'here'), null)
})

test('a key is 32 bytes in hex or base64, and nothing else', () => {
  const key = randomBytes(32)
  for (const text of [key.toString('hex'), key.toString('hex').toUpperCase(), key.toString('base64'), key.toString('base64url'), ` ${key.toString('base64')}\n`]) assert.deepEqual(parseSealingKey(text), key)
  for (const text of ['', 'secret', randomBytes(31).toString('base64'), randomBytes(33).toString('base64'), randomBytes(16).toString('hex')]) assert.equal(parseSealingKey(text), null)
})

test('the key is made once, for its owner alone; a file that holds none is told', () => {
  const file = join(directory(), SEALING_KEY_FILE)
  const { keyId } = openSealing(file, null)
  assert.equal(openSealing(file, null).keyId, keyId)
  assert.equal(statSync(file).mode & 0o777, 0o600)
  assert.deepEqual(readdirSync(join(file, '..')), [SEALING_KEY_FILE])
  writeFileSync(file, 'not a key\n')
  assert.throws(() => openSealing(file, null), /secrets\.key holds no key of secrets/)
})

// --- in the store -------------------------------------------------------------------------------------------------

const P = 'p' as ProjectId
const secretOf = (name: string) => ({ projectId: P, name, createdAt: 1, updatedAt: 1 })
const isAnywhere = (dir: string, text: string) => readdirSync(dir).some(file => readFileSync(join(dir, file)).includes(text))

async function withStore<T>(dir: string, use: (store: Awaited<ReturnType<typeof openStore>>) => Promise<T>, key: Buffer | null = null, warnings: string[] = []): Promise<T> {
  const store = await openStore({ path: join(dir, 'berth.db') }, { secretsKey: key, warn: sentence => warnings.push(sentence) })
  try {
    return await use(store)
  } finally {
    await store.close()
  }
}

test('no file of the store holds a value, and one that an earlier Berth wrote is sealed when it opens', async () => {
  const dir = directory()
  await withStore(dir, async store => {
    await store.transaction(tx => tx.putSecret(secretOf('TOKEN'), VALUE))
    assert.ok(!isAnywhere(dir, VALUE))
    assert.deepEqual(await store.read.secretValues(P, ['TOKEN']), { TOKEN: VALUE })
  })
  const raw = new DatabaseSync(join(dir, 'berth.db'))
  raw.exec(`UPDATE secrets SET value='${VALUE}', key_id=NULL`)
  raw.close()
  assert.ok(isAnywhere(dir, VALUE))
  await withStore(dir, async store => {
    assert.ok(!isAnywhere(dir, VALUE), 'it was plain and is sealed')
    assert.deepEqual(await store.read.secretValues(P, ['TOKEN']), { TOKEN: VALUE })
  })
})

test('a key that the operator brings takes over; a lost one loses its values by name, and nothing else', async () => {
  const dir = directory()
  const own = randomBytes(32)
  await withStore(dir, store => store.transaction(tx => tx.putSecret(secretOf('TOKEN'), VALUE)))
  await withStore(dir, async store => assert.deepEqual(await store.read.secretValues(P, ['TOKEN']), { TOKEN: VALUE }), own)
  // The file's key is not needed any more.
  rmSync(join(dir, SEALING_KEY_FILE))
  await withStore(dir, async store => assert.deepEqual(await store.read.secretValues(P, ['TOKEN']), { TOKEN: VALUE }), own)
  assert.deepEqual(readdirSync(dir).filter(file => file === SEALING_KEY_FILE), [])
  const warnings: string[] = []
  await withStore(
    dir,
    async store => {
      assert.deepEqual((await store.read.secrets(P)).map(({ name }) => name), ['TOKEN'])
      await assert.rejects(store.read.secretValues(P, ['TOKEN']), { code: 'invalid_state', message: /^The secret TOKEN can't be opened: the key that sealed it is not here\. Bring it back .*, or set the secret again\.$/ })
      await store.transaction(tx => tx.putSecret(secretOf('OTHER'), 'other-value'))
      assert.deepEqual(await store.read.secretValues(P, ['OTHER']), { OTHER: 'other-value' })
      await store.transaction(tx => tx.putSecret(secretOf('TOKEN'), 'again'))
      assert.deepEqual(await store.read.secretValues(P, ['TOKEN', 'OTHER']), { TOKEN: 'again', OTHER: 'other-value' })
    },
    null,
    warnings,
  )
  assert.match(warnings.join('\n'), /^1 secrets can't be opened/)
})
