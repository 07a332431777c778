import { GAPS_FLAG } from './child/gaps.ts'
import { confine, type Site } from './confine.ts'
import type { Isolation, SpawnProfile } from './port.ts'
import { namedPaths } from './readable.ts'
import type { Runner } from './runner-files.ts'

/** What the machine offers, found out once. */
export interface Machine {
  /** The program that runs: `process.execPath`. */
  readonly node: string
  /** Full path of util-linux' `setpriv`, if it is there. */
  readonly setpriv: string | undefined
  /** Full path of util-linux' `prlimit`, if it is there and works. */
  readonly prlimit: string | undefined
  /** Full path of bubblewrap, if it is there; whether it works is seen when a module asks for it. */
  readonly bwrap: string | undefined
  /** Whether hosts run behind Node's permission model. */
  readonly walled: boolean
  /** Whether this Node's wall denies the network too (from 25 on); 22 and 24 let everybody connect. */
  readonly deniesNet: boolean
  /** Whether this Node closes its inspector behind the wall unless `--allow-inspector` opens it; 22.22 knows no such flag. */
  readonly closesInspector: boolean
  readonly runner: Runner
  /** Where generations lie: every host may read all of them, for a spare does not know yet which one it will run. */
  readonly generationsDir: string
  /** The daemon's own environment, of which hosts get little. */
  readonly env: Readonly<Record<string, string | undefined>>
}

/** All that is fixed when a host starts. Hosts whose launches have the same key are interchangeable. */
export interface Launch {
  readonly key: string
  readonly file: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** The daemon's own when absent. */
  readonly cwd?: string
  /** It may have children, so its whole group is killed when it ends. */
  readonly mayFork: boolean
  readonly isolation: Isolation
}

/**
 * Turns what a manifest asks for into a command line. Pure: everything that it depends on is an argument.
 *
 * @param site - Needed for a profile with `sandbox`.
 */
export function planLaunch(machine: Machine, profile: WallProfile, site?: Site): Launch {
  const { runner, walled } = machine
  const flags = [...nodeFlags(profile), ...(walled ? wallFlags(machine, profile) : [])]
  const command = [machine.node, ...flags, runner.entry, ...(needsGapsClosed(profile) ? [GAPS_FLAG] : [])]
  const whole = site && { ...site, files: [machine.node, ...runner.files, ...site.files] }
  const { file, args, isolation } = confine(machine, profile, command, whole)
  const env = environment(machine.env, profile.permissions.env)
  return {
    key: JSON.stringify([file, args, env]),
    file,
    args,
    env,
    mayFork: !walled || profile.permissions.child_process,
    isolation: isolation === 'none' && walled ? 'node-permission' : isolation,
  }
}

/** A module that starts programs, or has a sandbox, gains nothing from the gaps. */
function needsGapsClosed({ sandbox, permissions }: WallProfile): boolean {
  return !sandbox && !permissions.child_process
}

/** The part of a profile that decides how a host is started. */
export type WallProfile = Pick<SpawnProfile, 'sandbox' | 'permissions' | 'dataDir' | 'roots' | 'records'> & {
  readonly limits: Pick<SpawnProfile['limits'], 'memory_mb' | 'open_files'>
}

/** What most modules need: nothing. Its hosts are the ones kept waiting. */
export const DEFAULT_PROFILE: WallProfile = {
  sandbox: false,
  permissions: {
    fs_read: [],
    fs_write: [],
    net: false,
    child_process: false,
    env: [],
    commands: [],
    secrets: [],
  },
  limits: { memory_mb: 256, open_files: 256 },
  dataDir: '',
  roots: [],
  records: {
    missions: '',
    mission_segments: '',
    journal: '',
    segments: '',
    telemetry: '',
    runtime_metrics: '',
    generations: '',
    artifacts: '',
    quarantine: '',
  },
}

function nodeFlags(profile: WallProfile): string[] {
  return [
    // Modules written in TypeScript are welcome; 22.22 would say at each start that this is experimental.
    '--disable-warning=ExperimentalWarning',
    // Said by --allow-child-process at each start; the manifest says it once.
    '--disable-warning=SecurityWarning',
    `--max-old-space-size=${heapMb(profile.limits.memory_mb)}`,
    // V8 lets its nursery grow to 128 MB before it looks at the limit above; 8 MB cost no speed that was measured.
    '--max-semi-space-size=8',
    // Closed until the daemon asks for it (SIGUSR1) to see where a host hangs; then on any free port.
    '--inspect-port=127.0.0.1:0',
    // Its address cannot be guessed, and is told to nobody but the daemon.
    '--inspect-publish-uid=stderr',
  ]
}

function wallFlags(machine: Machine, profile: WallProfile): string[] {
  const reads = [...profile.permissions.fs_read, ...profile.permissions.fs_write]
  return [
    '--permission',
    ...machine.runner.files.map((path) => `--allow-fs-read=${path}`),
    `--allow-fs-read=${machine.generationsDir}/*`,
    ...reads.flatMap((path) => expand(path, profile)).map((path) => `--allow-fs-read=${path}`),
    ...profile.permissions.fs_write
      .flatMap((path) => expand(path, profile))
      .map((path) => `--allow-fs-write=${path}`),
    ...(machine.deniesNet && profile.permissions.net ? ['--allow-net'] : []),
    ...(machine.closesInspector ? ['--allow-inspector'] : []),
    ...(profile.permissions.child_process ? ['--allow-child-process'] : []),
  ]
}

/**
 * The part of the memory limit that JavaScript objects may take: the rest is for Node itself, buffers and garbage.
 * Were it the whole, a tidy module would be beyond its limit before V8 sees a reason to collect.
 */
export function heapMb(memoryMb: number): number {
  return Math.max(Math.floor(memoryMb * 0.75), memoryMb - NODE_MB)
}

/**
 * A path as the flags want it. Node covers a folder's content only when the folder is there at the start, or when
 * the path says so; the path alone covers a file. Both together cover whatever will be there.
 */
function expand(path: string, profile: WallProfile): string[] {
  const paths = namedPaths(path, profile)
  // With whatever their names begin, too: segments beside the journal, rotated files. No key's name begins so.
  if (path === '$RECORDS') return withoutLonger(paths).map((one) => `${one}*`)
  return paths.flatMap((one) => (one === '/' ? ['/*'] : [one, `${one}/*`]))
}

/** Node opens `missions*` as a folder no more once `missions.jsonl*` is named as well; the shorter covers both. */
function withoutLonger(paths: readonly string[]): string[] {
  return paths.filter((one) => !paths.some((other) => other !== one && one.startsWith(other)))
}

/** What a host is given of the daemon's environment: little, and where its pipe is. */
export function environment(from: Machine['env'], names: readonly string[]): Record<string, string> {
  const granted = [...GIVEN_NAMES, ...names.filter((name) => !isWithheld(name))]
  const pairs = granted.flatMap((name) => (from[name] === undefined ? [] : [[name, from[name]]]))
  return { ...Object.fromEntries(pairs), NEXUS_FD: '3' }
}

/** `NODE_OPTIONS` would open the wall from outside; the daemon's own variables may name or hold its keys. */
function isWithheld(name: string): boolean {
  return name === 'NODE_OPTIONS' || name.startsWith('NEXUS_')
}

const GIVEN_NAMES = ['PATH', 'HOME', 'TZ', 'LANG', 'NODE_ENV']
/** An idle host has 45 MB in memory, most of it Node's own code. */
const NODE_MB = 64
