import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { BerthError } from '../../instance/errors.ts'
import type { FirstBoot } from '../host-port.ts'
import { readCloudConfig } from './cloud-config.ts'
import { checkUserData, firstBootOf } from './first-boot.ts'
import { partsOf, USER_DATA_LIMIT_BYTES } from './parts.ts'
import { quoted } from './shell.ts'

const config = (yaml: string) => readCloudConfig(`#cloud-config\n${yaml}`)
const boot = (userData: string | null): Omit<FirstBoot, 'configFiles'> => firstBootOf({ instanceId: '2f4b1f0a-6c1c-4c0e-9b42-0a6c3b7f7c11', hostname: 'web', sshKeys: ['ssh-ed25519 AAAA me'], userData })
const textOf = (from: FirstBoot['files'], path: string) => Buffer.from(from.find(file => file.path === path)?.data ?? '').toString()
const scriptOf = (userData: string) => {
  const { files, script } = boot(userData)
  return textOf(files, script ?? '')
}
const isInvalid = (error: unknown) => error instanceof BerthError && error.code === 'invalid_request' && /^The user data .*\.$/.test(error.message)

describe('parts', () => {
  test('a first line says what a document is', () => {
    for (const [text, kind] of [
      ['#!/bin/sh\necho', 'script'],
      ['#! /usr/bin/env python3\n', 'script'],
      ['\uFEFF#!/bin/sh\n', 'script'],
      ['#cloud-config\nruncmd: []\n', 'cloud-config'],
      ['#cloud-config\r\nruncmd: []\r\n', 'cloud-config'],
      ['#include\nhttp://x\n', 'other'],
      ['#cloud-config-archive\n- x\n', 'other'],
      ['## template: jinja\n#cloud-config\n', 'other'],
    ] as const) {
      assert.deepEqual(partsOf(text).map(part => part.kind), [kind], text)
    }
  })

  test('whatever is nothing of these is refused, and so is too much', () => {
    for (const text of ['', 'echo hello', '#!bin/sh', '#cloud-configuration\n', '{}', 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\nno parts']) {
      assert.throws(() => partsOf(text), isInvalid, text)
    }
    const script = '#!/bin/sh\n'
    assert.equal(partsOf(script + '#'.repeat(USER_DATA_LIMIT_BYTES - script.length)).length, 1)
    assert.throws(() => partsOf(script + '#'.repeat(USER_DATA_LIMIT_BYTES - script.length + 1)), isInvalid)
  })

  test('a MIME message is its parts, whatever their encoding', () => {
    const base64 = (text: string | Buffer) => Buffer.from(text).toString('base64').replaceAll(/.{60}/g, '$&\n')
    const message = [
      'Content-Type: multipart/mixed;',
      ' boundary="==cut=="',
      'MIME-Version: 1.0',
      '',
      'what comes before the first boundary is for nobody',
      '--==cut==',
      'Content-Type: text/x-shellscript; charset="utf-8"',
      'Content-Transfer-Encoding: base64',
      '',
      base64('#!/bin/sh\necho größer\n'),
      '--==cut==',
      'Content-Type: text/cloud-config',
      '',
      'hostname: x',
      '--==cut==',
      'Content-Type: application/octet-stream',
      'Content-Transfer-Encoding: base64',
      '',
      base64(gzipSync('#cloud-config\nhostname: y\n')),
      '--==cut==',
      'Content-Type: text/plain',
      'Content-Transfer-Encoding: quoted-printable',
      '',
      '#!/bin/sh',
      'echo a=3Db =C3=A4=',
      'c',
      '--==cut==',
      'Content-Type: multipart/mixed; boundary=in',
      '',
      '--in',
      '',
      '#!/bin/true',
      '--in--',
      '--==cut==--',
      'and what comes after the last neither',
    ]
    for (const end of ['\n', '\r\n']) {
      const parts = partsOf(message.join(end))
      assert.deepEqual(parts.map(({ kind, text }) => [kind, text.trimEnd()]), [
        ['script', '#!/bin/sh\necho größer'],
        ['cloud-config', 'hostname: x'],
        ['cloud-config', '#cloud-config\nhostname: y'],
        ['script', '#!/bin/sh\necho a=b äc'],
        ['script', '#!/bin/true'],
      ])
    }
  })

  test('no text makes it throw anything but a refusal', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string().map(tail => `#cloud-config\n${tail}`), fc.json().map(json => `#cloud-config\n${json}`), fc.string().map(tail => `MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n${tail}\n--b--`)), text => {
        try {
          checkUserData(text)
        } catch (error) {
          assert.ok(isInvalid(error), String(error))
        }
      }),
    )
  })
})

describe('cloud-config', () => {
  test('files have their content, mode, owner and place', () => {
    const { files } = config(`
write_files:
- {path: /a, content: "text\\n"}
- {path: /b, content: ${Buffer.from('b64').toString('base64')}, encoding: b64, permissions: '0600', owner: 'app:app'}
- {path: /c, content: ${gzipSync('packed').toString('base64')}, encoding: gz+b64, permissions: 0755}
- {path: /d, content: !!binary ${gzipSync('bytes').toString('base64')}, encoding: gzip, owner: root:root}
- {path: /e, content: more, append: true, defer: yes}
`)
    assert.deepEqual(files.map(({ data, ...file }) => ({ ...file, text: data.toString() })), [
      { path: '/a', mode: 0o644, owner: null, append: false, defer: false, text: 'text\n' },
      { path: '/b', mode: 0o600, owner: 'app:app', append: false, defer: false, text: 'b64' },
      { path: '/c', mode: 0o755, owner: null, append: false, defer: false, text: 'packed' },
      { path: '/d', mode: 0o644, owner: null, append: false, defer: false, text: 'bytes' },
      { path: '/e', mode: 0o644, owner: null, append: true, defer: true, text: 'more' },
    ])
  })

  test('users, groups and keys are read in all the ways that they are written', () => {
    const { users, groups, sshKeys } = config(`
groups: [admins, {cloud: [ubuntu, ann]}]
users:
- default
- {name: ann, groups: "admins, wheel", sudo: "ALL=(ALL) NOPASSWD:ALL", ssh_authorized_keys: [ssh-ed25519 A a], shell: /bin/ash, uid: 1234}
- {name: svc, system: true, sudo: false}
- bob
ssh_authorized_keys: [ssh-ed25519 B b]
`)
    assert.deepEqual(groups, [{ name: 'admins', members: [] }, { name: 'cloud', members: ['ubuntu', 'ann'] }])
    assert.deepEqual(users.map(user => user.name), ['ann', 'svc', 'bob'])
    const [ann] = users
    assert.deepEqual([ann?.groups, ann?.sudo, ann?.sshKeys, ann?.shell, ann?.uid], [['admins', 'wheel'], ['ALL=(ALL) NOPASSWD:ALL'], ['ssh-ed25519 A a'], '/bin/ash', '1234'])
    assert.deepEqual([users[1]?.system, users[1]?.makeHome, users[1]?.sudo], [true, false, []])
    assert.deepEqual(sshKeys, ['ssh-ed25519 B b'])
  })

  test('what is not done is named, and what can’t be is refused', () => {
    assert.deepEqual(config('packages: [nginx]\npackage_update: true\nruncmd: [x]\nssh_pwauth: false').notDone, ['packages', 'package_update'])
    for (const yaml of [
      'runcmd: [', 'runcmd: x', '- a list', 'runcmd: [{a: b}]', 'write_files: [{path: etc/x}]', 'write_files: [{path: /a/../b}]', 'write_files: [{path: /a, permissions: rw}]',
      'write_files: [{path: /a, encoding: rot13}]', 'write_files: [{path: /a, encoding: gz+b64, content: AAAA}]', "write_files: [{path: /a, owner: 'a b'}]", 'users: [{name: "a b"}]',
      'users: [{name: a, ssh_authorized_keys: ["a\\nb"]}]', 'hostname: a b', 'groups: [../x]', '"\\0": [}', 'a: &a [*a]\nb: *c',
    ]) {
      assert.throws(() => config(yaml), isInvalid, yaml)
    }
    assert.throws(() => config(`a: &a [x, x, x, x, x, x, x, x, x, x]\n${Array.from({ length: 9 }, (_, i) => `${String.fromCharCode(98 + i)}: &${String.fromCharCode(98 + i)} [${Array.from({ length: 10 }, () => `*${String.fromCharCode(97 + i)}`).join()}]`).join('\n')}`), isInvalid, 'aliases that multiply')
  })
})

describe('a first boot', () => {
  test('of an image with its own cloud-init is a NoCloud seed', () => {
    const { seed } = boot('#cloud-config\npackages: [nginx]\n')
    assert.deepEqual(JSON.parse(textOf(seed, '/var/lib/cloud/seed/nocloud/meta-data')), {
      'instance-id': '2f4b1f0a-6c1c-4c0e-9b42-0a6c3b7f7c11', 'local-hostname': 'web', 'public-keys': ['ssh-ed25519 AAAA me'],
    })
    assert.equal(textOf(seed, '/var/lib/cloud/seed/nocloud/user-data'), '#cloud-config\npackages: [nginx]\n')
    assert.match(textOf(seed, '/etc/cloud/cloud.cfg.d/99-berth.cfg'), /network: \{config: disabled\}/)
  })

  test('without user data is nothing else', () => {
    const { files, script } = boot(null)
    assert.deepEqual([files, script], [[], null])
  })

  test('takes its steps in cloud-init’s order, and names what it leaves out', () => {
    const script = scriptOf('#cloud-config\nruncmd: [last]\nbootcmd: [first]\nusers: [{name: ann}]\nhostname: h\npackages: [x]\nwrite_files: [{path: /a, owner: ann}, {path: /b, defer: true}, {path: /c, append: true}]\nssh_authorized_keys: [ssh-ed25519 B b]\n')
    const body = script.split('\n').filter(line => /^(step|tell) /.test(line))
    assert.deepEqual(body.map(line => line.split(' ').slice(0, 2).join(' ')), [
      "tell 'packages", 'step /var/lib/berth/user-data/part-001-bootcmd', 'step add_user', 'step write_owner', 'step set_hostname', 'step allow_key', 'step install_file', 'step append_file', 'step /var/lib/berth/user-data/part-001-runcmd',
    ])
  })

  test('is a script that any shell can read, whatever words stand in it', t => {
    const dir = mkdtempSync(join(tmpdir(), 'ud-'))
    t.after(() => rmSync(dir, { recursive: true, force: true }))
    const file = join(dir, 'script')
    const evil = "'; touch /pwned; $(touch /pwned) `x` \" \\"
    writeFileSync(file, scriptOf(`#cloud-config\nfinal_message: ${JSON.stringify(evil)}\nusers: [{name: ann, gecos: ${JSON.stringify(evil)}}]\nruncmd: [[echo, ${JSON.stringify(evil)}]]\n`))
    const checked = spawnSync('sh', ['-n', file], { encoding: 'utf8' })
    assert.equal(checked.status, 0, checked.stderr)
  })

  test('quotes any word so that a shell takes it for itself', () => {
    const words = fc.sample(fc.string({ unit: 'binary' }).filter(word => !word.includes('\0')), { numRuns: 200, seed: 4 })
    const said = spawnSync('sh', ['-c', `printf '%s\\0' ${words.map(word => quoted(word)).join(' ')}`], { encoding: 'utf8' })
    assert.deepEqual(said.stdout.split('\0').slice(0, -1), words.map(word => Buffer.from(word).toString()))
  })
})
