/** What a program in a sandbox gets to see of the machine. All paths are absolute and real. */
export interface SandboxView {
  readonly reads: readonly string[]
  readonly writes: readonly string[]
  /** The machine's network; without it there is not even its loopback. */
  readonly net: boolean
  /** It starts programs of the machine, or is one: then it sees where those lie. */
  readonly programs: boolean
  /** Where it finds itself; one of the paths above. */
  readonly workDir: string
}

/**
 * The command line that runs `command` behind bubblewrap: an empty machine of its own (processes, network, shared
 * memory, host name) in which only what `view` lists is there. It ends with the process that started it, and
 * everything inside ends with it, whatever it has forked.
 *
 * Pure. Descriptors and environment pass through, so the caller keeps both clean.
 */
export function inSandbox(bwrap: string, view: SandboxView, command: readonly string[]): string[] {
  return [
    bwrap,
    ...['--die-with-parent', '--new-session'],
    // A user namespace also for root: then nothing inside is the root of the machine.
    ...['--unshare-user', '--unshare-pid', '--unshare-ipc', '--unshare-uts', '--unshare-cgroup-try'],
    ...(view.net ? [] : ['--unshare-net']),
    ...['--cap-drop', 'ALL'],
    ...mounts(view).flatMap(({ args }) => args),
    // What holds the mounts together is memory: nobody should be able to fill it.
    ...['--remount-ro', '/'],
    ...['--chdir', view.workDir, '--'],
    ...command,
  ]
}

interface Mount {
  readonly to: string
  readonly args: readonly string[]
}

/** Outer folders first, for a later mount covers an earlier one. What may be written is no longer only read. */
function mounts({ reads, writes, net, programs }: SandboxView): Mount[] {
  const open = [...SYSTEM, ...(programs ? PROGRAMS : []), ...(net ? NETWORK : []), ...reads]
  const byPath = new Map<string, Mount>([['/tmp', PRIVATE_TMP]])
  // One inside a folder that may be written would be covered by itself, read-only.
  const plain = open.filter((path) => !writes.some((folder) => path.startsWith(`${folder}/`)))
  for (const path of plain) byPath.set(path, { to: path, args: ['--ro-bind-try', path, path] })
  for (const path of writes) byPath.set(path, { to: path, args: ['--bind-try', path, path] })
  for (const own of OWN) byPath.set(own.to, own)
  return [...byPath.values()].sort((a, b) => depth(a.to) - depth(b.to))
}

function depth(path: string): number {
  return path === '/' ? 0 : path.split('/').length - 1
}

/** Never the machine's, whatever a manifest lists. */
const OWN: readonly Mount[] = [
  { to: '/proc', args: ['--proc', '/proc'] },
  { to: '/dev', args: ['--dev', '/dev'] },
]
/** It is memory that no limit of a process counts, so it is small. */
const PRIVATE_TMP: Mount = { to: '/tmp', args: ['--size', String(64 * 1_048_576), '--tmpfs', '/tmp'] }
/** What any program needs to be loaded and to tell the time; everybody on the machine may read it. */
const SYSTEM = [
  ...['/lib', '/lib32', '/lib64', '/usr/lib', '/usr/lib32', '/usr/lib64'],
  ...['/etc/ld.so.cache', '/etc/localtime'],
]
const PROGRAMS = ['/bin', '/sbin', '/usr', '/etc/alternatives']
const NETWORK = ['/etc/resolv.conf', '/etc/hosts', '/etc/nsswitch.conf', '/etc/ssl', '/etc/ca-certificates']
