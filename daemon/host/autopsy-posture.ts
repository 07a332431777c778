import { readFileSync, readlinkSync } from 'node:fs'

/** How the main thread of a process stands, as the kernel tells it. */
export interface Posture {
  /** The letter of `/proc/<pid>/status`: R runs, S sleeps, D waits for a device, T was stopped by a signal. */
  readonly state: string
  /** Whether a SIGUSR1 would be caught; one that is not would kill it. */
  readonly catchesUsr1: boolean
  /** The system call it is in, with its arguments; undefined while it runs, and where the kernel does not tell. */
  readonly call: string | undefined
  /** What the first argument of that call names, where that is a descriptor. */
  readonly target: string | undefined
  /** How often it was taken off a processor: the same number twice means that it never ran in between. */
  readonly switches: number
  /** Processor time of its main thread since it started. */
  readonly cpuMs: number
}

/** Looks at a process; undefined when it is gone, or is none of ours. */
export function readPosture(pid: number): Posture | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1')
    const call = readCall(pid)
    const target = call === undefined ? undefined : targetOf(pid, call)
    // Nanoseconds on a processor come first.
    const cpuMs = Number.parseInt(readFileSync(`/proc/${pid}/schedstat`, 'latin1'), 10) / 1e6
    return { ...parseStatus(status), call, target, cpuMs }
  } catch {
    return undefined
  }
}

/** What `/proc/<pid>/status` says of it. */
export function parseStatus(status: string): Pick<Posture, 'state' | 'catchesUsr1' | 'switches'> {
  const field = (name: string): string => new RegExp(`^${name}:[ \\t]+(\\S+)`, 'm').exec(status)?.[1] ?? ''
  const caught = BigInt(`0x${field('SigCgt') || '0'}`)
  return {
    state: field('State'),
    catchesUsr1: (caught & USR1_BIT) !== 0n,
    switches: Number(field('voluntary_ctxt_switches')) + Number(field('nonvoluntary_ctxt_switches')),
  }
}

/**
 * What is to be done about it, by two looks a moment apart.
 *
 * A process that sits in a system call cannot be asked where it is, and must not be: the signal would break into the
 * call (`readSync` throws EINTR), which changes what the module does. Waiting for a lock is different: that is how
 * `Atomics.wait` waits, and it can be asked.
 */
export function judgePosture(first: Posture, second: Posture, arch: string = process.arch): 'ask' | 'leave' {
  if (second.state === 'T' || second.state === 't' || second.state === 'D') return 'leave'
  const name = second.call === undefined ? undefined : callName(second.call, arch)
  if (name === undefined || ASKABLE.has(name)) return 'ask'
  const satStill = first.call === second.call && first.switches === second.switches
  return satStill ? 'leave' : 'ask'
}

/**
 * Where a process is that shows no stack, so that it reads well behind "blocked in".
 *
 * @param code - What runs when it runs: any code, or code that is known to be outside JavaScript.
 */
export function describePosture(
  { state, call, target }: Posture,
  code: 'code' | 'code outside JavaScript',
  arch: string = process.arch,
): string {
  if (state === 'T' || state === 't') return 'a stop: somebody sent it SIGSTOP'
  if (state === 'D') return 'the kernel, waiting for a disk or another device'
  if (call === undefined) {
    return state === 'R' ? `${code} that uses the processor` : `${code} that waits`
  }
  const name = callName(call, arch) ?? `number ${call.split(' ')[0]}`
  const of = target === undefined ? '' : ` of ${target}`
  const how = name.startsWith('epoll') ? ', as execSync and spawnSync wait for a child' : ''
  return `the system call ${name}${of}${how}`
}

/** `nr arg arg …`; the kernel says `running` for one that is in none, and refuses where it may not tell. */
function readCall(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/syscall`, 'latin1').trim()
    return /^\d+ /.test(text) ? text.split(' ').slice(0, 7).join(' ') : undefined
  } catch {
    return undefined
  }
}

function targetOf(pid: number, call: string): string | undefined {
  const name = callName(call, process.arch)
  if (name === undefined || !ON_DESCRIPTOR.has(name)) return undefined
  try {
    return readlinkSync(`/proc/${pid}/fd/${Number(call.split(' ')[1])}`)
  } catch {
    return undefined
  }
}

function callName(call: string, arch: string): string | undefined {
  const at = arch === 'x64' ? 0 : arch === 'arm64' ? 1 : undefined
  if (at === undefined) return undefined
  const number = Number(call.split(' ')[0])
  return Object.entries(CALLS).find(([, numbers]) => numbers[at] === number)?.[0]
}

/** SIGUSR1 is 10, and the mask begins with signal 1. */
const USR1_BIT = 1n << 9n

/** The calls in which programs wait: their numbers on x64 and on arm64; -1 where there is no such call. */
const CALLS: Readonly<Record<string, readonly [number, number]>> = {
  read: [0, 63],
  write: [1, 64],
  poll: [7, -1],
  pread64: [17, 67],
  pwrite64: [18, 68],
  select: [23, -1],
  nanosleep: [35, 101],
  connect: [42, 203],
  accept: [43, 202],
  sendto: [44, 206],
  recvfrom: [45, 207],
  sendmsg: [46, 211],
  recvmsg: [47, 212],
  wait4: [61, 260],
  fcntl: [72, 25],
  flock: [73, 32],
  fsync: [74, 82],
  fdatasync: [75, 83],
  futex: [202, 98],
  clock_nanosleep: [230, 115],
  epoll_wait: [232, -1],
  waitid: [247, 95],
  openat: [257, 56],
  pselect6: [270, 72],
  ppoll: [271, 73],
  epoll_pwait: [281, 22],
  io_uring_enter: [426, 426],
  epoll_pwait2: [441, 441],
}

/** A signal does not break these: the wait goes on, and V8 is asked meanwhile. */
const ASKABLE: ReadonlySet<string> = new Set(['futex', 'epoll_wait', 'epoll_pwait', 'epoll_pwait2'])
const ON_DESCRIPTOR: ReadonlySet<string> = new Set([
  ...[
    'read',
    'write',
    'pread64',
    'pwrite64',
    'connect',
    'accept',
    'sendto',
    'recvfrom',
    'sendmsg',
    'recvmsg',
  ],
  ...['fcntl', 'flock', 'fsync', 'fdatasync'],
])
