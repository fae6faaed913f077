import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Instance } from '../instance/model.ts'
import { derive, namesIn } from './derived-text.ts'

const reader = { secretValues: async (_project: unknown, names: readonly string[]) => Object.fromEntries(names.filter(name => name !== 'gone').map(name => [name, `<${name}>`])) }
const instance = (derivedEnv: Record<string, string>) => ({ id: 'the-id', hostId: 'the-host', projectId: 'p', spec: { derivedEnv } }) as unknown as Instance
const of = async (derivedEnv: Record<string, string>, known = { A: 'a' }) => (await derive(reader, instance(derivedEnv), known, [])).variables

test('names stand for variables, secrets, and the instance itself, through each other', async () => {
  assert.deepEqual(await of({ B: '{{ A }}-{{A}}', C: '{{ B }}/{{ secret.key }}', D: '{{ instance.id }}@{{ instance.host }}' }), { A: 'a', B: 'a-a', C: 'a-a/<key>', D: 'the-id@the-host' })
  assert.deepEqual(namesIn('{{ A }} {{secret.b-c}} {{ .Values }} {{ a b }} {{}} {A}'), ['A', 'secret.b-c'])
})

test('what nothing has, and what names itself, stays as it is written; a value is not read again', async () => {
  assert.deepEqual(await of({ B: '{{ nobody }} {{ .Go }}', C: '{{ D }}', D: 'x{{ C }}' }), { A: 'a', B: '{{ nobody }} {{ .Go }}', C: 'x{{ C }}', D: 'x{{ C }}' })
  assert.deepEqual(await of({ B: '{{ A }}' }, { A: '{{ secret.key }}' }), { A: '{{ secret.key }}', B: '{{ secret.key }}' })
})

test('a secret that is gone, and texts that grow without end, are told and end', async () => {
  await assert.rejects(of({ B: '{{ secret.gone }}' }), { code: 'not_found' })
  const bombs = Object.fromEntries(Array.from({ length: 30 }, (_, at) => [`B${at + 1}`, `{{ B${at} }}`.repeat(100)]))
  await assert.rejects(of(bombs, { A: 'a', B0: 'boom' } as never), { code: 'limit_exceeded' })
  const { text } = await derive(reader, instance({}), { A: 'a'.repeat(1000) }, [])
  assert.equal(text('{{ A }}', 1007).length, 1000)
  assert.throws(() => text('{{ A }}', 1000), { code: 'limit_exceeded' })
})
