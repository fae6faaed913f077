/** Instances as resources: listed, read, completed, and followed by clients of either era. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Client } from '@modelcontextprotocol/client'
import type { InstanceId } from '../src/instance/model.ts'
import { BUSYBOX, eventually, SMALL } from './engine-fixture.ts'
import { connect, ERAS, mcpFixture } from './support/mcp.ts'
import type { Era, McpFixture } from './support/mcp.ts'

let mcp: McpFixture
before(async () => {
  mcp = await mcpFixture()
})
after(() => mcp.close())

async function runs(name: string): Promise<InstanceId> {
  const { engine, caller } = mcp.fixture
  const { id } = await engine.instances.create(caller, { ...SMALL, name })
  await engine.instances.wait(caller, id, { until: ['running'], timeoutMs: 20_000 })
  return id
}

/** Follows the URIs as the era does it, and returns how to stop. */
async function follow(client: Client, era: Era, uris: readonly string[]): Promise<() => Promise<unknown>> {
  if (era === '2025') {
    for (const uri of uris) await client.subscribeResource({ uri })
    return async () => {
      for (const uri of uris) await client.unsubscribeResource({ uri })
    }
  }
  const subscription = await client.listen({ resourceSubscriptions: [...uris], resourcesListChanged: true })
  assert.deepEqual(subscription.honoredFilter.resourceSubscriptions, uris)
  return () => subscription.close()
}

for (const era of ERAS) {
  describe(`a client of ${era}`, () => {
    let client: Client
    const updated: string[] = []
    let listChanges = 0
    before(async () => {
      client = await connect(mcp.url, era, mcp.key)
      client.setNotificationHandler('notifications/resources/updated', ({ params }) => void updated.push(params.uri))
      client.setNotificationHandler('notifications/resources/list_changed', () => void (listChanges += 1))
    })
    after(() => client.close())

    test('lists instances, reads all that is said of them, and finds names by their beginning', async () => {
      const id = await runs(`read-${era}`)
      const { resources } = await client.listResources()
      assert.ok(resources.some(({ uri, name }) => uri === `instance://${id}` && name === `read-${era}`))
      const { resourceTemplates } = await client.listResourceTemplates()
      assert.deepEqual(resourceTemplates.map(({ uriTemplate }) => uriTemplate).toSorted(), ['instance://{id}', 'instance://{id}/events', 'instance://{id}/logs'])
      const textAt = async (uri: string) => {
        const [content] = (await client.readResource({ uri })).contents
        return content !== undefined && 'text' in content ? content.text : ''
      }
      assert.equal((JSON.parse(await textAt(`instance://read-${era}`)) as { id: string }).id, id)
      const events = JSON.parse(await textAt(`instance://${id}/events`)) as { type: string }[]
      assert.equal(events[0]?.type, 'HEALTHY')
      assert.ok((await textAt(`instance://${id}/logs`)).length > 0)
      const completed = await client.complete({ ref: { type: 'ref/resource', uri: 'instance://{id}' }, argument: { name: 'id', value: 'read-' } })
      assert.ok(completed.completion.values.includes(`read-${era}`))
      await assert.rejects(client.readResource({ uri: 'instance://nobody' }), /There is no instance/)
      await assert.rejects(client.readResource({ uri: 'instance://a/b/c' }))
    })

    test('hears when an instance it follows changes, and nothing once it lets go', async () => {
      const { engine, caller } = mcp.fixture
      const name = `watched-${era}`
      const id = await runs(name)
      const uris = [`instance://${id}`, `instance://${name}/events`, `instance://${id}/logs`]
      const letGo = await follow(client, era, uris)
      await runs(`unwatched-${era}`)
      await engine.instances.restart(caller, id)
      await eventually(() => uris.every(uri => updated.includes(uri)), `notices of ${uris.join(', ')}; there were ${updated.join(', ')}`)
      assert.deepEqual(updated.filter(uri => !uris.includes(uri)), [])
      await eventually(() => listChanges > 0, 'a notice that the list has changed')
      await engine.instances.wait(caller, id, { until: ['running'], timeoutMs: 20_000 })
      await letGo()
      await new Promise(resolve => setTimeout(resolve, 600))
      const heard = updated.length
      await engine.instances.standby(caller, id)
      await engine.instances.wait(caller, id, { until: ['standby'], timeoutMs: 20_000 })
      await new Promise(resolve => setTimeout(resolve, 600))
      assert.equal(updated.length, heard)
    })

    test('can’t follow what is not its own, and hears nothing of it', async () => {
      const { engine, caller } = mcp.fixture
      const id = await runs(`private-${era}`)
      const stranger = await connect(mcp.url, era, await mcp.keyWith(['read'], `resources-${era}`))
      const heard: string[] = []
      stranger.setNotificationHandler('notifications/resources/updated', ({ params }) => void heard.push(params.uri))
      stranger.setNotificationHandler('notifications/resources/list_changed', () => void heard.push('list'))
      if (era === '2025') await assert.rejects(stranger.subscribeResource({ uri: `instance://${id}` }), /There is no instance/)
      else {
        const subscription = await stranger.listen({ resourceSubscriptions: [`instance://${id}`], resourcesListChanged: true })
        assert.equal(subscription.honoredFilter.resourceSubscriptions, undefined)
      }
      await engine.instances.delete(caller, id)
      await engine.instances.wait(caller, id, { until: ['deleted'], timeoutMs: 20_000 })
      await new Promise(resolve => setTimeout(resolve, 600))
      assert.deepEqual(heard, [])
      await stranger.close()
    })
  })
}

test('an image that is known is named', async () => {
  const client = await connect(mcp.url, '2026-07-28', mcp.key)
  const { content } = await client.callTool({ name: 'list-images', arguments: {} })
  assert.match(JSON.stringify(content), new RegExp(BUSYBOX))
  await client.close()
})
