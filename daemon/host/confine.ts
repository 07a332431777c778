import type { Machine, WallProfile } from './isolation.ts'
import type { Isolation } from './port.ts'
import { namedPaths } from './readable.ts'
import { inSandbox, type SandboxView } from './sandbox.ts'

/** Where a program runs that is confined. */
export interface Site {
  /** Real path of its generation. */
  readonly dir: string
  /** Files outside the generation that it is made of. */
  readonly files: readonly string[]
  /** Folders of the Unix sockets it is to listen on. */
  readonly socketDirs: readonly string[]
  /** Whether it is a program of the machine, or starts such: then it sees where those lie. */
  readonly programs: boolean
}

/** A command line with all around it that this machine can hold a program with. */
export interface Confined {
  readonly file: string
  readonly args: readonly string[]
  /** `none` unless it is behind bubblewrap; a program may have walls of its own. */
  readonly isolation: Isolation
}

/**
 * Puts around `command` what holds any program: its death with the daemon's, its limits, and bubblewrap when the
 * profile asks for it. Pure.
 *
 * A profile with `sandbox` needs a machine with `bwrap` and a `site`.
 */
export function confine(
  machine: Machine,
  profile: WallProfile,
  command: readonly string[],
  site?: Site,
): Confined {
  const { bwrap, setpriv, prlimit } = machine
  const isBoxed = profile.sandbox && bwrap !== undefined && site !== undefined
  const [file = '', ...args] = [
    // The kernel kills it when the daemon dies, however it dies.
    ...(setpriv === undefined ? [] : [setpriv, '--pdeathsig', 'KILL', '--']),
    ...(prlimit === undefined ? [] : [prlimit, ...limitFlags(profile.limits), '--']),
    ...(isBoxed ? inSandbox(bwrap, viewOf(profile, site), command) : command),
  ]
  return { file, args, isolation: isBoxed ? 'bwrap' : 'none' }
}

/** Limits that the kernel keeps, for each process. */
function limitFlags({ memory_mb, open_files }: WallProfile['limits']): string[] {
  const dataBytes = (memory_mb + UNUSED_MB) * 1_048_576
  return [
    `--nofile=${open_files}:${open_files}`,
    // A core dump holds everything that the process knew.
    '--core=0:0',
    `--data=${dataBytes}:${dataBytes}`,
  ]
}

function viewOf(profile: WallProfile, site: Site): SandboxView {
  const { fs_read, fs_write, net } = profile.permissions
  const paths = (entries: readonly string[]): string[] =>
    entries.flatMap((entry) => namedPaths(entry, profile))
  return {
    reads: [...site.files, site.dir, ...paths(fs_read)],
    writes: [...site.socketDirs, ...paths(fs_write)],
    net,
    programs: site.programs,
    workDir: site.dir,
  }
}

/**
 * A program that is to use 256 MB of memory may claim this much more at once before the kernel refuses: then it ends
 * by itself, and the machine does not notice. An idle Node claims 600 MB that it never touches.
 */
const UNUSED_MB = 2_048
