/** The page bench/RESULTS.md, from figures. Pure. */
import type { Figure } from './figure.ts'
import type { MachineFacts } from './machine.ts'

/** What each figure is, and what is aimed at without KVM. */
const ROWS: readonly (readonly [name: string, what: string, target: string])[] = [
  ['launch_template', 'create → first output of a command, network on, from the template of its image, where no process waits (`BERTH_POOL=no`)', '250 ms'],
  ['launch_unstarted', 'the same in a QEMU that waits with the template in it, whose guest has run nothing (`BERTH_POOL=unstarted`)', ''],
  ['launch_pool', 'the same from the warm pool, filled and at rest', '80 ms'],
  ['launch_general', 'the same of an image that has no template of its own (`BERTH_IMAGE_TEMPLATES=0`)', ''],
  ['launch_cold', 'the same with a boot', ''],
  ['podman_run', '`podman run` of the same busybox, default network', ''],
  ['podman_exec', '`podman exec true`', ''],
  ['standby_512', 'standby of a 512 MB guest, its process ended (`BERTH_NAP_MEMORY=0`)', '60 ms'],
  ['standby_4096', 'the same of a 4 GB guest', '1.3 × standby_512'],
  ['restore_exec', 'restore soon after standby, while its process naps → first output of a command', '120 ms'],
  ['restore_files', 'the same from the files alone, where no process naps (`BERTH_NAP_MEMORY=0`)', ''],
  ['fork', 'fork of a running instance that has written 256 MB → first output of a command in the fork', ''],
  ['fork_still', 'how long that instance is silent while it is copied', ''],
  ['exec_true', '`true` on a running VM, API to exit', '10 ms'],
  ['exec_out', 'random bytes out of a command, their hash checked on the host', '120 MB/s'],
  ['exec_in', 'random bytes into a command, a block read back and checked, the rest counted', '80 MB/s'],
  ['exec_memory', 'by how much the server grew meanwhile, at its largest', 'flat'],
  ['burst_50', '50 creates at once, all running', '6000 ms'],
  ['density_100', 'private memory of an idle 256 MB VM', '30 MB'],
  ['server_start_1000', 'start with 1,000 stored instances → serving', '500 ms'],
  ['api_get', 'GET of one instance on the Koyeb API, answers a second', ''],
  ['api_get_bare', 'a bare Fastify route that returns the same bytes', ''],
  ['api_get_part', 'the one as a part of the other', '60 %'],
  ['api_list', 'a list of 100 instances on the Koyeb API, answers a second', ''],
  ['api_list_bare', 'a bare Fastify route that returns the same bytes', ''],
  ['api_list_part', 'the one as a part of the other', ''],
  ['api_list_growth', 'time of that list with 100,000 instances, of its time with 1,000', '120 %'],
  ['api_list_changed_growth', 'the same where something was committed before each request, so that it is read anew', '120 %'],
  ['api_events_growth', 'time of the newest 100 events of 1,000,000, of 10,000', '120 %'],
  ['idle_100', 'an idle server with 100 running VMs, of one core', '1 %'],
  ['idle_100_memory', 'its memory', '150 MB'],
  ['web_initial_js', 'JavaScript that the dashboard loads at first, gzipped', '350 KB'],
  ['web_first_content', 'opening the dashboard in a new browser → the first row of the table', '1000 ms'],
  ['web_first_content_many', 'the same with 10,000 instances', ''],
  ['web_scroll_frame', 'a frame while the table of 10,000 scrolls', 'p95 below 50 ms'],
  ['web_scroll_blocked', 'the longest that a script kept the page from drawing meanwhile', '100 ms'],
  ['web_live_update', 'an instance of 10,000 changes its state → its row says so', '500 ms'],
]

/** What bounds the figures where nothing of the machine helps; found with profiles, so that nobody looks again. */
const FLOORS = `
## What bounds them without KVM

- A guest's first instructions are translated one by one. Traced inside a clone, in ms of its clock: entropy 6, the network
  30, erofs 15-20, ext4 28, the writable layer's directories 14 (now on the disk already), overlayfs 13, the names in
  \`/etc\` 9, the application's process 20-25, the first command 35. A guest that has run nothing has none of it translated; only
  a VM that has done it before, in the same process, has: the pool's, where the same are 0.5, 2-7, 1.5, 4-5, 2.4, 2, 3-5 and
  13-20. A rehearsal before the template is saved takes some 8 ms off the network and nothing off the rest: it is the
  translation, which isn't saved, and not what a kernel does the first time.
- An image's own template has erofs, ext4, the directories and overlayfs behind it, and the image's shell and C library in its
  memory: \`launch_template\` was 335 ms and became 249 (270 on a busier machine; 222 with what \`burst_50\` says below), \`launch_general\` is what it was. Of the 180-200 ms of CPU time that were left
  to the clone's virtual CPU then (\`schedstat\`), 20 passed until the agent answered, 75-80 until it was the instance (30 of them the
  network, 6 entropy, the rest names, owner and requests), 50 until the application has been started, 40-60 are the first
  command; QEMU's own thread takes 35-40 to start, 12 for the devices' state and some 8 afterwards. Tried without gain: a guest
  without mitigations, and a CPU without five levels of page tables, SMAP, SMEP and PKU.
- Of the network's part, in a clone on an idle machine (17-19 ms): socket 1.5, finding the card 1.5-2.5, address 5.5, netmask
  2.5, MAC with its announcement 5, flags 0.5, route 0.4. By netlink address and netmask are one message of 7 ms, and the
  route takes 2, since netlink's own path has to be translated too: 17.2 against 17.3 at best, 18.5 against 19.4 in the
  middle of ten. So it stays with ioctls.
- A cold boot (1.5 s until the agent waits) is 1.5 s of CPU time, spread over the whole kernel. An initramfs that isn't
  compressed (1.46 s against 1.47), \`rcupdate.rcu_expedited=1\`, \`lpj=\`, \`nokaslr\`, no audit, and initcalls of self-tests and key rings left out
  each measured no better than the spread of its runs.
- What reads a disk takes a guest about a millisecond, however much it reads: a launch with its first command made 36 reads and
  makes 23. Nine of them are ext4's own when it is mounted, one after the other, with one write and one sync.
- To start a process takes the server 5-8 ms at 150 MB on an idle machine and 15-40 on a busy one, in which it does nothing
  else: Linux copies its page tables. A launch from the pool starts none (\`nft\` and \`ip\` wait for it); a clone starts QEMU, and
  \`nft\` and \`ip\` too where launches follow each other too closely.
  A small process that starts QEMU for the server was weighed and left out: of a burst of 50 (7.2 s) the server stood in
  starting QEMU for 0.85 s altogether, 17 ms each, but used 0.16 s of CPU time in it, 3.2 ms each; the rest is waiting for
  the child to get a CPU, in which other VMs get on. A burst is CPU time, so that is 1 % of it; of a single launch 2-3 %.
- A clone's QEMU takes 33 ms of CPU time until it answers (5 of it for twelve root ports) and some 20 more with the devices'
  state. \`launch_unstarted\` has most of that behind it.
- Of a launch from the pool of a general template (traced: 123 ms) 9 are admission, 15 moving in and disks, 30 the guest becoming the instance, 20 the
  application's start, 40 the first command. Most of the last two is the image's own program: busybox, twice. A VM of the image's
  own template has no disks to swap and nothing to mount, and its rehearsal has run the image's shell: 71 ms at the median where
  it was 105. Where launches follow each other within two seconds a further VM is made ready beside the
  next, with a tenth of a launch's weight.
- \`burst_50\` is CPU time. With a general template a VM took 0.31-0.36 s of QEMU's and the server some 0.03 s: 9.1 s for all on two
  CPUs; with the image's template 0.20-0.25 s, and 6.8-7.7 s. Traced by the guest's own clock, a good third of what was left was
  what a template can have behind it: the application's process (\`clone3\` into a control group that nobody was in yet is 16 ms),
  the first files in /etc (the directory is copied up, the file made, cut and given room: some 20), lists in the agent that
  are looked through once (6), buffers that are made once (5), /etc/passwd, \`oom_score_adj\`, the socket and the card. Without them it is
  0.18 s for each (70 ms of a virtual CPU until it is told to run, where it was 120) and 5.2-5.4 s for all; a single launch takes
  140 ms until it runs, where it took 195. Both CPUs are busy but for the first 0.3 s, in which the server makes the disks.
  What is left, by the clock of a clone (nine of them, their middle): 8 until the agent answers, 3 entropy, clock and host name, 15 the
  network, 8 the first write to the disk, 2 the other names, 3 what the application is, and 35-40 the program's own start, more than
  half of it after the VM is said to run. Three quarters of it goes to translating (perf). Tried without gain: large pages for translated code (a quarter fewer page faults, no less time, 1-3 MB more).
- Of a restore from files alone (\`restore_files\`, some 200 ms) 39 are QEMU's own start, in whose second half the guest's
  pages are loaded (8-29 by themselves), 13 the devices' state, 13 until the agent answers, 15 its clock, entropy and thaw,
  75-80 the first command, and 10-15 the API and its records. What comes after the devices is a guest that is translated
  anew. A process that naps has all of it behind it: of its 30 ms (60 on a busier day) 12 are the command, 7
  the host's room, the rest the API. Not tried: a QEMU that is started before it is asked for, and takes its disks and
  network when it is.
- While an instance is copied it stands still for 10-15 ms, and 0.45 ms for each MB of memory that it wrote (0.9 where
  those are not zeros): its own pages are read then, because this kernel can't tell which changed since
  (\`CONFIG_MEM_SOFT_DIRTY\`). Its disk does not count. \`fork_still\` is what a client sees, with some 15 ms between two words
  of an instance that is left alone: 283 ms when the disk was copied in the pause, 150 now. One that was booted, not cloned,
  stands still for all of its memory and its disk.
- \`podman\` starts a process on the host's own kernel and CPU.
- An idle clone has 32 MB for itself since its application's process waits in the template. Of the 47 MB
  that it had before (\`/proc/PID/smaps\`, three seconds after its launch) translated code is 24, QEMU's heap 10, pages that the guest wrote 6, relocations of QEMU and its libraries 5, translation tables and stacks 2. A smaller
  buffer for translated code (\`tb-size\`) is paid for with CPU time, since a full one is emptied and all of it translated
  again; a launch with its first command takes 0.33-0.40 s of CPU with 64 or 24 MB. With 20 MB: 43 MB and 0.41 s; with 12 MB:
  34 MB and 0.57 s; with 8 MB: 29 MB, but every command takes 150 ms, because what one needs doesn't fit. So it stays
  at 64. One root port instead of twelve, and a guest without mitigations, do not change its memory.
- The first clone of a size counts some 22 MB more as its own: the pages of the template that no other VM maps yet.
- Of \`exec_true\` some 2 ms are the client's connection and its upgrade to a WebSocket, and some 7 the guest: a static
  program that does nothing takes an emulated CPU 1.7 ms from \`clone\` to its end where nothing is copied for it (2.5 with a
  copy of its parent, which is why the agent makes none); the rest is its directory, user and limits, its pipes, and
  interrupts, each of which wakes a CPU that sleeps. No timer and no sync of a disk is left between request and exit frame.
  What the agent maps anew for a command costs a missed page for each 4 KB: the block of the last process is kept (10 % less).
- \`exec_out\` is the guest's CPU: QEMU takes 90 % of a core meanwhile and the server half of one. Bytes go from the command
  through a pipe and the agent's buffer into the virtio port; the port alone, without a command, makes 230-250 MB/s.
- \`exec_memory\` was garbage, not what waits: each read of a socket is a new buffer of 64 KiB, a large message one more, and V8
  lets some 30-60 MB of them gather before it looks (traced: \`arrayBuffers\` up to 70 MB at a heap of 24). Now guests' sockets
  read into one buffer, output waits in blocks that are used again, and a client's large frame is freed once it is written:
  \`arrayBuffers\` stays between 4 and 9 MB, and the server grows by 4-7 MB where it grew by 43. Where the template of the image is
  made meanwhile it grows by 21-71 MB, which is what the server reads for that; the bench waits until it is made.
  Three commands' output and two's input at once, one reader slow, take 10 MB: their windows.
  Asking V8 for a small collection every 4 MB was tried first: 10-18 MB, and slower.
- More than half of \`idle_100\` is V8's clearing away after the launches, the rest what each VM is asked (figures every
  30 s, a sign of life every 20 s, the size of its logs). Of its memory 56 MB are Node's own program and libraries.
`

export function resultsPage(machine: MachineFacts, figures: Readonly<Record<string, Figure>>, notes: readonly string[]): string {
  const rows = ROWS.map(([name, what, target]) => {
    const figure = figures[name]
    const cells = figure === undefined ? ['not measured', '', '', ''] : [`${figure.p50} ${figure.unit}`, `${figure.p95}`, `${figure.min}`, `${figure.n}`]
    return `| \`${name}\` | ${what} | ${target} | ${cells.join(' | ')} |`
  })
  return [
    '# What Berth takes',
    '',
    'Written by `npm run bench -- --results`; everything in one run, side by side.',
    '',
    '| The machine | |',
    '|---|---|',
    ...Object.entries(machine).map(([name, value]) => `| ${name} | ${value} |`),
    '',
    ...(machine.load > 1 ? [`The machine was busy with other work (load ${machine.load} on ${machine.cores} cores): every figure is larger than on an idle one, podman's too.`, ''] : []),
    '| Figure | Work | Target | p50 | p95 | min | n |',
    '|---|---|---|---|---|---|---|',
    ...rows,
    '',
    ...ratios(figures),
    '',
    ...notes.map((note) => `${note}\n`),
    FLOORS.trim(),
    '',
  ].join('\n')
}

/** The figures as other programs read them. */
export function figureJson(machine: MachineFacts, figures: Readonly<Record<string, Figure>>): string {
  const plain = Object.fromEntries(Object.entries(figures).map(([name, { unit, p50, p95, n }]) => [name, { unit, p50, p95, n }]))
  return `${JSON.stringify({ machine, figures: plain }, null, 2)}\n`
}

function ratios(figures: Readonly<Record<string, Figure>>): string[] {
  const pairs: readonly (readonly [name: string, beside: string, target: string])[] = [
    ['launch_template', 'podman_run', 'below 1'],
    ['launch_unstarted', 'podman_run', ''],
    ['launch_pool', 'podman_run', '0.25'],
    ['launch_pool', 'launch_cold', ''],
    ['restore_exec', 'podman_run', ''],
    ['restore_files', 'podman_run', ''],
    ['exec_true', 'podman_exec', ''],
    ['standby_4096', 'standby_512', '1.3'],
  ]
  const rows = pairs.flatMap(([name, beside, target]) => {
    const [one, other] = [figures[name], figures[beside]]
    return one === undefined || other === undefined ? [] : [`| \`${name}\` / \`${beside}\` | ${target} | ${(one.p50 / other.p50).toFixed(2)} |`]
  })
  return rows.length === 0 ? [] : ['| Medians side by side | Target | |', '|---|---|---|', ...rows]
}
