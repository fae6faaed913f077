import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CliError } from '../failure.ts'
import { parseTarget, sshArguments } from './ssh.ts'

const network = { enabled: true, name: 'default', ip: '10.0.0.9', mac: null, downloadBytesPerSecond: null, uploadBytesPerSecond: null, ports: [] }
const web = { id: 'ID', name: 'web', network, phase: 'running' as const, sshKeys: ['ssh-ed25519 A'] }
const tail = (instance: Parameters<typeof sshArguments>[0], words: readonly string[]) => sshArguments(instance, 'root', null, words, '/known').slice(14)

test('who is meant stands before the instance, or in an option', () => {
  assert.deepEqual(parseTarget('web', undefined), { user: 'root', name: 'web' })
  assert.deepEqual(parseTarget('ubuntu@web', undefined), { user: 'ubuntu', name: 'web' })
  assert.deepEqual(parseTarget('ubuntu@web', 'ann'), { user: 'ann', name: 'web' })
})

test('ssh is told the address, the port, and the host it must be', () => {
  assert.deepEqual(sshArguments(web, 'ubuntu', '/key', [], '/known'), [
    '-l', 'ubuntu', '-p', '22', '-i', '/key', '-o', 'HostKeyAlias=berth-ID', '-o', 'UserKnownHostsFile=/known', '-o', 'StrictHostKeyChecking=accept-new', '-o', 'HashKnownHosts=no', '-o', 'CheckHostIP=no', '10.0.0.9',
  ])
  const published = { ...web, network: { ...network, ports: [{ hostPort: 2222, guestPort: 22, protocol: 'tcp' as const }] } }
  assert.deepEqual(sshArguments(published, 'root', null, [], '/known').slice(0, 4), ['-l', 'root', '-p', '2222'])
  assert.deepEqual(tail(published, []), ['127.0.0.1'])
})

test('options of ssh come before the host, and the command after it', () => {
  for (const [words, told] of [
    [['uname', '-a'], ['10.0.0.9', 'uname', '-a']],
    [['-v', '-L', '1:a:2', 'ls', '-l'], ['-v', '-L', '1:a:2', '10.0.0.9', 'ls', '-l']],
    [['-L1:a:2', '-NT'], ['-L1:a:2', '-NT', '10.0.0.9']],
    [['-o', 'BatchMode=yes', '--', '-x'], ['-o', 'BatchMode=yes', '10.0.0.9', '-x']],
  ]) {
    assert.deepEqual(tail(web, words ?? []), told)
  }
})

test('what can’t be entered is said before ssh is asked', () => {
  for (const instance of [{ ...web, sshKeys: [] }, { ...web, phase: 'standby' as const }, { ...web, network: { ...network, ip: null } }]) {
    assert.throws(() => tail(instance, []), CliError)
  }
})
