/**
 * Shared file systems at the Host port, with real VMs: several guests see one tree at once, nobody else reaches it, and
 * it goes on over standby, a new server of Berth, and the death of its NFS server.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readFile, readdir, readlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { after, before, describe, test } from 'node:test'
import type { VmSpec } from '../src/engine/host-port.ts'
import { runCommand } from '../src/host/command.ts'
import { BerthError } from '../src/instance/errors.ts'
import type { FileSystemId } from '../src/instance/model.ts'
import { eventually, exec, isRoot, openLab, refOf, shell } from './host-lab.ts'
import type { Lab } from './host-lab.ts'

const MIB = 2 ** 20
/** `lock FILE` says `held` and keeps a lock of the file to the end of its input; `lock FILE try` ends with 3 if another has it. */
const LOCK = `#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
int main(int count, char **words) {
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int file = open(words[1], O_RDWR | O_CREAT, 0644);
    if (file < 0 || fcntl(file, count > 2 ? F_SETLK : F_SETLKW, &whole) < 0) return 3;
    puts("held"), fflush(stdout);
    while (count == 2 && getchar() != EOF) continue;
    return 0;
}
`
const PATH = '/lambda/nfs/shared'

describe('a shared file system', { skip: isRoot ? false : 'needs root' }, () => {
  let lab: Lab
  let one: VmSpec
  let two: VmSpec
  let stranger: VmSpec
  const id = randomUUID() as FileSystemId
  const dir = () => join(lab.dataDir, 'file-systems', id)
  const serverPid = async () => (JSON.parse(await readFile(join(dir(), 'server.json'), 'utf8')) as { readonly process: { readonly pid: number } }).process.pid
  const isRunning = async (pid: number) => /\(ganesha[^)]*\) [^ZX]/.test(await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => ''))

  before(async () => {
    lab = await openLab()
    await lab.host.createFileSystem({ id, sizeBytes: 64 * MIB })
    // The same again finds it made.
    await lab.host.createFileSystem({ id, sizeBytes: 64 * MIB })
    const sharing = { fileSystems: [{ fileSystemId: id, path: PATH }] }
    // Of the same host name: the server must not take them for one client.
    one = lab.spec(sharing)
    two = lab.spec(sharing)
    stranger = lab.spec()
    await Promise.all([lab.host.start(one), lab.host.start(two)])
    await lab.host.start(stranger)
  })
  after(async () => {
    for (const vm of await lab.host.inventory()) await lab.host.destroy(vm)
    await lab.host.deleteFileSystem(id)
    await lab.close()
  })

  test('is the same tree in every instance that has it, with owners and modes', async () => {
    await shell(lab.host, one, `echo hello > ${PATH}/greeting; chown 1000:1001 ${PATH}/greeting; chmod 640 ${PATH}/greeting`)
    assert.equal(await shell(lab.host, two, `cat ${PATH}/greeting; stat -c '%u %g %a' ${PATH}/greeting`), 'hello\n1000 1001 640')
    const append = (vm: VmSpec, word: string) => shell(lab.host, vm, `for i in 1 2 3 4 5 6 7 8; do mkdir ${PATH}/${word}$i; done`)
    await Promise.all([append(one, 'a'), append(two, 'b')])
    assert.equal(await shell(lab.host, one, `ls -d ${PATH}/[ab]* | wc -l`), '16')
  })

  test('is mounted in an instance that runs, and taken from it, which closes the way to its server', async () => {
    const mount = { fileSystemId: id, path: '/srv/late' }
    await shell(lab.host, one, `echo late > ${PATH}/late`)
    await lab.host.attachFileSystem(refOf(stranger), mount)
    await lab.host.attachFileSystem(refOf(stranger), mount)
    assert.equal(await shell(lab.host, stranger, 'cat /srv/late/late; grep -c " /srv/late nfs4 " /proc/mounts'), 'late\n1')
    // A program that works in it keeps it.
    const busy = await lab.host.exec(refOf(stranger), { command: ['sh', '-c', 'cd /srv/late && echo in && cat'], env: {}, workingDir: null, user: null, tty: null, timeoutMs: null })
    await busy.output[Symbol.asyncIterator]().next()
    await assert.rejects(lab.host.detachFileSystem(refOf(stranger), id), (error) => error instanceof BerthError && error.code === 'volume_in_use')
    assert.equal(await shell(lab.host, stranger, 'cat /srv/late/late'), 'late')
    await busy.endInput()
    await busy.exit
    await lab.host.detachFileSystem(refOf(stranger), id)
    await lab.host.detachFileSystem(refOf(stranger), id)
    assert.equal(await shell(lab.host, stranger, 'ls /srv/late; grep -c " /srv/late " /proc/mounts || true'), '0')
    assert.equal(await shell(lab.host, two, `cat ${PATH}/late; rm ${PATH}/late`), 'late')
  })

  test('has locks that exclude each other across instances', async () => {
    await writeFile(join(lab.dataDir, 'lock.c'), LOCK)
    const program = join(lab.dataDir, 'lock')
    await runCommand('musl-gcc', ['-static', '-o', program, join(lab.dataDir, 'lock.c')])
    const data = await readFile(program)
    const file = { path: 'lock', kind: 'file', mode: 0o755, uid: 0, gid: 0, sizeBytes: data.length, mtimeSeconds: 0, linkTarget: null } as const
    await lab.host.copyIn(refOf(one), PATH, Readable.from([{ type: 'entry', entry: file }, { type: 'data', data }]))
    const held = await lab.host.exec(refOf(one), { command: [`${PATH}/lock`, `${PATH}/mine`], env: {}, workingDir: null, user: null, tty: null, timeoutMs: null })
    const said = await held.output[Symbol.asyncIterator]().next()
    assert.equal(Buffer.from(said.value?.data ?? []).toString(), 'held\n')
    assert.equal((await exec(lab.host, two, [`${PATH}/lock`, `${PATH}/mine`, 'try'])).code, 3)
    await held.endInput()
    assert.equal((await held.exit).code, 0)
    await eventually('the lock is free', async () => (await exec(lab.host, two, [`${PATH}/lock`, `${PATH}/mine`, 'try'])).code === 0)
  })

  test('holds what its size allows, and tells what is used', async () => {
    const full = await exec(lab.host, one, ['dd', 'if=/dev/zero', `of=${PATH}/big`, 'bs=1M', 'count=100', 'conv=fsync'])
    assert.notEqual(full.code, 0)
    assert.match(full.stderr, /space/i)
    const used = await lab.host.fileSystemUsedBytes(id)
    assert.ok(used > 30 * MIB && used <= 64 * MIB, String(used))
    await shell(lab.host, two, `rm ${PATH}/big`)
    await eventually('the room is free again', async () => (await lab.host.fileSystemUsedBytes(id)) < 10 * MIB)
  })

  test('grows while guests write to it, and keeps what it holds', async () => {
    await shell(lab.host, one, `seq 1 20000 > ${PATH}/before`)
    const writing = shell(lab.host, two, `for n in $(seq 1 40); do echo $n >> ${PATH}/during || exit 1; sleep 0.1; done; wc -l < ${PATH}/during`)
    await lab.host.growFileSystem({ id, sizeBytes: 160 * MIB })
    await lab.host.growFileSystem({ id, sizeBytes: 160 * MIB })
    assert.equal(await writing, '40')
    const megabytes = Number(await shell(lab.host, one, `df -m ${PATH} | tail -1 | awk '{print $2}'`))
    assert.ok(megabytes > 120, String(megabytes))
    assert.equal(await shell(lab.host, two, `dd if=/dev/zero of=${PATH}/big bs=1M count=100 conv=fsync 2>/dev/null && tail -1 ${PATH}/before; rm ${PATH}/big`), '20000')
    assert.deepEqual((await readdir(dir())).filter((name) => name.startsWith('growing')), [])
  })

  test('is reached by nobody who does not have it', async () => {
    const mounts = await shell(lab.host, one, 'cat /proc/mounts')
    const port = /port=(\d+)/.exec(mounts)?.[1] ?? ''
    const gateway = /addr=([\d.]+) /.exec(mounts)?.[1] ?? ''
    // nc ends with 1 where it can't connect, and otherwise with the time limit at the latest.
    const connect = ['sh', '-c', `timeout 5 nc ${gateway} ${port} </dev/null`]
    assert.notEqual((await exec(lab.host, one, connect)).code, 1, 'it is there')
    assert.equal((await exec(lab.host, stranger, connect)).code, 1)
    // A file handle is a number of the whole ext4; the host's own root must not be on it.
    const [mine, theirs] = await Promise.all([readFile('/proc/self/mounts', 'utf8'), readFile(`/proc/${await serverPid()}/mounts`, 'utf8')])
    assert.ok(!mine.includes(dir()), 'it is mounted for its server alone')
    assert.match(theirs, /^none \/ tmpfs \S+ 0 0\n\/dev\/loop\d+ \/data ext4 \S*nosuid,nodev,noexec\S* 0 0\n$/, 'and its server sees nothing else')
    const open = await Promise.all((await readdir(`/proc/${await serverPid()}/fd`)).map(async (fd) => readlink(`/proc/${await serverPid()}/fd/${fd}`).catch(() => '')))
    assert.deepEqual(open.filter((path) => path.startsWith('/') && !/^\/(run|data)/.test(path)), [], 'no file of the host is open there')
  })

  test('goes on after standby and after the server of Berth was another', async () => {
    const pid = await serverPid()
    await lab.host.suspend(refOf(one))
    await lab.reopen()
    assert.equal(await serverPid(), pid, 'it was taken over')
    await shell(lab.host, two, `echo while-it-slept > ${PATH}/note`)
    await lab.host.resume(one)
    assert.equal(await shell(lab.host, one, `cat ${PATH}/note`), 'while-it-slept')
  })

  test('is served again when its server dies, and programs in the guests only wait', async () => {
    const pid = await serverPid()
    process.kill(pid, 'SIGKILL')
    assert.equal(await shell(lab.host, two, `echo survived > ${PATH}/after; cat ${PATH}/after`), 'survived')
    assert.notEqual(await serverPid(), pid)
    assert.equal(await shell(lab.host, one, `cat ${PATH}/after`), 'survived')
  })

  test('can’t be deleted while an instance has it; its server ends with the last one, its files stay', async () => {
    await assert.rejects(lab.host.deleteFileSystem(id), { code: 'volume_in_use' })
    const pid = await serverPid()
    await lab.host.destroy(refOf(one))
    assert.ok(await isRunning(pid))
    await lab.host.stop(refOf(two), { graceMs: 1000 })
    assert.ok(!(await isRunning(pid)))
    assert.ok((await lab.host.fileSystemUsedBytes(id)) > 0)
    const again = { ...two, generation: 2 }
    await lab.host.start(again)
    assert.equal(await shell(lab.host, again, `cat ${PATH}/after`), 'survived')
  })

  test('that is not there refuses the start, and leaves nothing', async () => {
    const lost = lab.spec({ fileSystems: [{ fileSystemId: randomUUID() as FileSystemId, path: PATH }] })
    await assert.rejects(lab.host.start(lost), { code: 'volume_not_found' })
    assert.ok(!(await lab.host.inventory()).some((vm) => vm.instanceId === lost.instanceId))
  })
})
