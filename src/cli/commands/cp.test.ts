import assert from 'node:assert/strict'
import { test } from 'node:test'
import { landingOf } from './cp.ts'

const none = { exists: false, kind: null }
const file = { exists: true, kind: 'file' }
const directory = { exists: true, kind: 'directory' }

/** source, is it a directory, destination, what is there → where it lands */
const TABLE = [
  ['a file to a new name', '/src/f', false, '/dst/new', none, 'becomes', '/dst/new'],
  ['a file to a directory that is not there', '/src/f', false, '/dst/new/', none, 'refused', '/dst/new'],
  ['a file onto a file', '/src/f', false, '/dst/f', file, 'becomes', '/dst/f'],
  ['a file onto a file with a slash', '/src/f', false, '/dst/f/', file, 'refused', '/dst/f'],
  ['a file into a directory', '/src/f', false, '/dst', directory, 'becomes', '/dst/f'],
  ['a file into the root', '/src/f', false, '/', directory, 'becomes', '/f'],
  ['a directory to a new name', '/src/d', true, '/dst/new', none, 'becomes', '/dst/new'],
  ['a directory to a new name with a slash', '/src/d', true, '/dst/new/', none, 'becomes', '/dst/new'],
  ['a directory onto a file', '/src/d', true, '/dst/f', file, 'refused', '/dst/f'],
  ['a directory into a directory', '/src/d', true, '/dst', directory, 'becomes', '/dst/d'],
  ['a directory with a slash into a directory', '/src/d/', true, '/dst', directory, 'becomes', '/dst/d'],
  ['what a directory holds into a directory', '/src/d/.', true, '/dst', directory, 'contents', '/dst'],
  ['what this directory holds into a directory', '.', true, '/dst', directory, 'contents', '/dst'],
  ['what a directory holds to a new name', '/src/d/.', true, '/dst/new', none, 'becomes', '/dst/new'],
  ['the root into a directory', '/', true, '/dst', directory, 'contents', '/dst'],
] as const
for (const [name, source, isDirectory, destination, target, kind, path] of TABLE) {
  test(`${name}: ${kind} ${path}`, () => {
    const landing = landingOf(source, isDirectory, destination, target)
    assert.deepEqual([landing.kind, landing.path], [kind, path])
  })
}
