import assert from 'node:assert/strict'
import { test } from 'node:test'
import { asMachine, BUILT_IN_IMAGE, defaultMachineImage, familyOf, readyImages } from './machine-image.ts'
import type { Image, ImageConfig, ProjectId } from './model.ts'

const CONFIG: ImageConfig = { entrypoint: [], cmd: [], env: {}, workingDir: '/', user: '', stopSignal: null, exposedPorts: [] }

function image(name: string, change: Partial<Image> = {}): Image {
  return {
    projectId: 'p' as ProjectId,
    name,
    status: 'ready',
    digest: null,
    sizeBytes: null,
    config: CONFIG,
    error: null,
    queuePosition: null,
    progress: null,
    tags: {},
    createdAt: 0,
    updatedAt: 0,
    ...change,
  }
}

test('an image is of the family that its name says', () => {
  for (const [name, family] of [
    ['docker.io/library/ubuntu:24.04', 'ubuntu-24-04'],
    ['localhost/busybox:latest', 'busybox'],
    ['registry:5000/a/Lambda_Stack:22.04', 'lambda-stack-22-04'],
    [`docker.io/library/alpine@sha256:${'0'.repeat(64)}`, 'alpine'],
  ] as const) {
    assert.equal(familyOf(name), family)
  }
})

test('an image whose command is a shell stays as a machine, any other runs its own command', () => {
  for (const [command, stays] of [
    [[], true],
    [['/bin/bash'], true],
    [['bash', '-l'], true],
    [['sh', '-c', 'echo hi'], false],
    [['nginx'], false],
  ] as const) {
    const machine = asMachine(image('a', { config: { ...CONFIG, cmd: command } }))
    assert.equal(machine.entrypoint !== undefined, stays, command.join(' '))
  }
  assert.equal(asMachine(null).image, BUILT_IN_IMAGE)
})

test('without a choice it is the highest Ubuntu that is ready, else the built-in image', () => {
  const old = image('docker.io/library/ubuntu:22.04', { updatedAt: 2 })
  const young = image('docker.io/library/ubuntu:24.04', { updatedAt: 1 })
  const pulling = image('docker.io/library/ubuntu:26.04', { status: 'pulling' })
  const ready = readyImages([young, pulling, old, image('nginx')])
  assert.deepEqual(ready.map(({ name }) => name), [old.name, young.name, 'nginx'])
  assert.equal(defaultMachineImage(ready)?.name, young.name)
  assert.equal(defaultMachineImage([image('nginx')]), null)
})
