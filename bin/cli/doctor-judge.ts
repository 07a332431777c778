/** What a check found: whether all is well, in a sentence, and what to do where it is not. */
export interface Diagnosis {
  readonly verdict: 'ok' | 'warn' | 'fail'
  readonly say: string
  readonly remedy?: string
}

/*
 * The judges of `nexus doctor`. Each is told what was seen and says what it means; none looks anywhere itself.
 */

export function judgeNode({ version }: { readonly version: string }): Diagnosis {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number)
  if (major >= 24 || (major === 22 && minor >= 22)) return ok(`Node ${version}`)
  return fail(
    `Node ${version} is not supported: ^22.22.0 or >=24 is needed`,
    'run it as `npx nexus`, which brings a Node of its own, or install a newer Node',
  )
}

/** The account that modules run as, too. */
export function judgeAccount({ uid }: { readonly uid: number }): Diagnosis {
  if (uid !== 0) return ok(`runs as account ${uid}`)
  return warn(
    'runs as root, and so does every module',
    'start the daemon as an account of its own: `User=` in the systemd unit, `runAsUser` in the pod, `su -s /bin/sh`',
  )
}

export function judgeEnvironment({ nodeOptions }: { readonly nodeOptions: string | undefined }): Diagnosis {
  if (nodeOptions === undefined || nodeOptions === '') return ok('NODE_OPTIONS is not set')
  return warn(
    `NODE_OPTIONS is set (${nodeOptions}): a daemon started here runs with it; its modules do not`,
    '`unset NODE_OPTIONS` before the daemon is started',
  )
}

/** What the settings came to: the failure when they cannot be read. */
export function judgeSettings(seen: {
  readonly file: string | undefined
  readonly fault?: { readonly message: string; readonly remedy: string }
}): Diagnosis {
  if (seen.fault !== undefined) return fail(seen.fault.message, seen.fault.remedy)
  return ok(seen.file === undefined ? 'the defaults, no configuration file' : `read from ${seen.file}`)
}

/** A file or folder; undefined when it is not there. */
export interface Entry {
  readonly kind: 'file' | 'folder' | 'other'
  readonly uid: number
  /** Permission bits with set-uid, set-gid and sticky. */
  readonly mode: number
}

export interface FolderSeen {
  readonly path: string
  readonly uid: number
  readonly entry: Entry | undefined
  /** Whether this account may make it, where it is missing. */
  readonly canBeMade: boolean
  /** The folders it lies in, outermost first. */
  readonly above: readonly { readonly path: string; readonly entry: Entry }[]
}

export function judgeDataFolder({ path, uid, entry, canBeMade, above }: FolderSeen): Diagnosis {
  const open = above.find(({ entry: { mode } }) => (mode & OTHERS_WRITE) !== 0 && (mode & STICKY) === 0)
  if (open !== undefined) {
    return fail(
      `${path} lies in ${open.path}, where everybody may replace it`,
      `run \`chmod o-w ${open.path}\`, or choose another --data-dir`,
    )
  }
  if (entry === undefined) {
    if (canBeMade) return ok(`${path} is not there yet; the first start makes it`)
    return fail(`${path} is not there and cannot be made`, 'make it, or choose another --data-dir')
  }
  if (entry.kind !== 'folder') return fail(`${path} is not a folder`, 'choose another --data-dir')
  if (entry.uid !== uid) {
    return fail(
      `${path} belongs to account ${entry.uid}, this is account ${uid}`,
      `run \`chown -R ${uid} ${path}\` as root, or run as account ${entry.uid}`,
    )
  }
  if ((entry.mode & 0o077) === 0) return ok(`${path} is private to this account`)
  const say = `${path} may be entered by others (mode ${octal(entry.mode)})`
  return warn(say, `run \`chmod 700 ${path}\`; the next start of the daemon does so, too`)
}

export interface SecretSeen {
  readonly path: string
  readonly uid: number
  readonly entry: Entry | undefined
}

/** Files that open the daemon to whoever can read them. */
export function judgeSecret({ path, uid, entry }: SecretSeen): Diagnosis {
  if (entry === undefined) return ok(`${path} is not there yet; the daemon makes it`)
  if (entry.kind !== 'file')
    return fail(`${path} is no plain file`, `move it away: \`mv ${path} ${path}.old\``)
  if (entry.uid !== uid) {
    return fail(`${path} belongs to account ${entry.uid}`, `run \`chown ${uid} ${path}\` as root`)
  }
  if ((entry.mode & 0o077) === 0) return ok(`${path} is private to this account`)
  return fail(
    `${path} can be read or changed by others (mode ${octal(entry.mode)})`,
    `run \`chmod 600 ${path}\`; then make a new one, since it may have been read`,
  )
}

/** What the daemon keeps in its folder. */
export function judgeRecords(files: readonly SecretSeen[]): Diagnosis {
  const there = files.filter((file) => file.entry !== undefined)
  const foreign = there.find(({ entry, uid }) => entry?.uid !== uid)
  if (foreign !== undefined) {
    const { path, uid, entry } = foreign
    return fail(`${path} belongs to account ${entry?.uid}`, `run \`chown ${uid} ${path}\` as root`)
  }
  const open = there.find(({ entry }) => ((entry?.mode ?? 0) & 0o077) !== 0)
  if (open === undefined) return ok(`${there.length} files, private to this account`)
  return warn(
    `${open.path} can be read or changed by others (mode ${octal(open.entry?.mode ?? 0)})`,
    `run \`chmod 600 ${open.path}\``,
  )
}

export interface RoomSeen {
  readonly path: string
  readonly freeBytes: number
  readonly totalBytes: number
  /** 0 of 0 where the file system does not count them. */
  readonly freeInodes: number
  readonly totalInodes: number
}

export function judgeRoom({ path, freeBytes, totalBytes, freeInodes, totalInodes }: RoomSeen): Diagnosis {
  const remedy = `make room on the disk of ${path}: \`nexus maintenance\` prunes, or move it with --data-dir`
  const free = `${Math.floor(freeBytes / MIB)} MiB free on the disk of ${path}`
  if (freeBytes < ROOM_FAIL_BYTES) return fail(`only ${free}`, remedy)
  if (totalInodes > 0 && freeInodes < INODES_FAIL) {
    return fail(
      `only ${freeInodes} inodes free on the disk of ${path}`,
      'remove small files that nobody needs',
    )
  }
  if (freeBytes < ROOM_WARN_BYTES && freeBytes < totalBytes / 10) return warn(`only ${free}`, remedy)
  return ok(free)
}

export interface JournalSeen {
  readonly bytes: number
  /** Undefined when it is too large to be read in passing. */
  readonly report?: {
    readonly ok: boolean
    readonly records: number
    readonly damage?: { readonly message: string; readonly remedy: string } | undefined
    readonly openTailBytes: number
  }
  /** How far the newest record lies in the future. */
  readonly aheadMs: number
  readonly isRunning: boolean
}

export function judgeJournal({ bytes, report, isRunning }: JournalSeen): Diagnosis {
  if (bytes === 0) return ok('there is no journal yet')
  if (report === undefined) {
    return ok(`${Math.floor(bytes / MIB)} MiB, not read here: \`nexus journal verify\` does`)
  }
  if (report.damage !== undefined) return fail(report.damage.message, report.damage.remedy)
  // A daemon that runs is writing that line right now.
  if (report.openTailBytes > 0 && !isRunning) {
    return warn(
      `its last line is torn (${report.openTailBytes} bytes); all ${report.records} records before it hold`,
      'nothing: the next start sets the torn end aside in quarantine/',
    )
  }
  return ok(`the chain of ${report.records} records holds`)
}

export function judgeClock(seen: { readonly nowMs: number; readonly aheadMs: number }): Diagnosis {
  const now = new Date(seen.nowMs).toISOString()
  const remedy = 'set the clock, and keep it: `timedatectl set-ntp true`'
  if (seen.nowMs < RELEASED_MS) return fail(`the clock says ${now}, which has long passed`, remedy)
  if (seen.aheadMs > AHEAD_MS_MAX) {
    const seconds = Math.round(seen.aheadMs / 1_000)
    return warn(`the newest record is ${seconds} s in the future: the clock went back`, remedy)
  }
  return ok(`the clock says ${now}`)
}

export interface LockSeen {
  /** The process that holds the kernel's lock on the data folder. */
  readonly holder: number | undefined
  /** What `run/pid` says. */
  readonly noted: number | undefined
  readonly isAnswering: boolean
}

export function judgeLock({ holder, noted, isAnswering }: LockSeen): Diagnosis {
  if (holder !== undefined && isAnswering) return ok(`held by the daemon that answers (process ${holder})`)
  if (holder !== undefined) {
    return fail(
      `process ${holder} holds the data folder, but no daemon answers at its socket`,
      `wait if it is starting or stopping; else look at \`ps -fp ${holder}\` and end it`,
    )
  }
  if (noted === undefined || isAnswering) return ok('nobody holds the data folder')
  return ok(`nobody holds it: process ${noted} ended without taking its leave, and the next start recovers`)
}

export interface PortSeen {
  readonly host: string
  readonly port: number
  /** What it is wanted for: `http`, `metrics`, `listen web of demo/site`. */
  readonly purpose: string
  /** What else wants the same port, if anything does. */
  readonly rival: string | undefined
  /** `free`, or why it cannot be listened on. */
  readonly state: 'free' | 'taken' | 'denied' | 'no such address'
  /** Who listens there, as far as can be seen. */
  readonly holder?: { readonly pid: number; readonly name: string } | undefined
  /** Whether that is the daemon of this data folder. */
  readonly isOurs: boolean
  readonly isRunning: boolean
}

export function judgePort(seen: PortSeen): Diagnosis {
  const { host, port, purpose, rival, state, holder, isOurs, isRunning } = seen
  const where = `${host}:${port} (${purpose})`
  const other = purpose.startsWith('listen')
    ? 'give the module another port in `listen` of its module.json'
    : `choose another with ${purpose === 'http' ? '--port' : '--metrics-port'}`
  if (port === 0) return ok(`${purpose} takes any free port`)
  if (rival !== undefined) return fail(`${where} is wanted for ${rival}, too`, other)
  if (isOurs) return ok(`${where} is ours`)
  if (state === 'free') return ok(`${where} is free`)
  if (state === 'denied') {
    return fail(`${where} may not be listened on by this account`, `${other}; ports below 1024 are for root`)
  }
  if (state === 'no such address') {
    return fail(`${where}: this machine has no such address`, 'name an address of this machine, or 0.0.0.0')
  }
  const who = holder === undefined ? 'another program' : `${holder.name} (process ${holder.pid})`
  // The daemon that runs was given other ports, or it would not be there.
  const judge = isRunning ? warn : fail
  return judge(`${where} is used by ${who}`, `end it, or ${other}`)
}

export interface SocketSeen {
  readonly path: string
  readonly bytes: number
  readonly isThere: boolean
  /** Whether a process holds the data folder. */
  readonly isHeld: boolean
  readonly isAnswering: boolean
}

export function judgeSocket({ path, bytes, isThere, isHeld, isAnswering }: SocketSeen): Diagnosis {
  if (bytes > SOCKET_BYTES_MAX) {
    return fail(
      `the path has ${bytes} bytes, the system takes ${SOCKET_BYTES_MAX}: ${path}`,
      'choose a shorter --data-dir',
    )
  }
  if (isAnswering) return ok(`a daemon answers at ${path}`)
  if (isHeld) return ok(`nobody answers at ${path} now: see the lock`)
  return ok(isThere ? `${path} was left behind; the next start replaces it` : `no daemon listens at ${path}`)
}

export interface ReadinessSeen {
  readonly isAnswering: boolean
  readonly ready: boolean
  readonly reasons: readonly string[]
  readonly version: string | undefined
  readonly ownVersion: string
  readonly insecureKey: boolean
}

export function judgeDaemon(seen: ReadinessSeen): Diagnosis {
  if (!seen.isAnswering) return ok('no daemon runs here')
  if (!seen.ready) {
    const why = seen.reasons.join('; ')
    return fail(`the daemon is not ready: ${why}`, '`nexus explain <module>` says more about each module')
  }
  if (seen.insecureKey) {
    return warn('the daemon takes the published operator key', 'start it without --dev')
  }
  if (seen.version !== undefined && seen.version !== seen.ownVersion) {
    return warn(
      `the daemon is version ${seen.version}, this program is ${seen.ownVersion}`,
      'restart the daemon to run what is installed',
    )
  }
  return ok('the daemon is ready')
}

export interface ModulesSeen {
  readonly dir: string
  readonly entry: Entry | undefined
  readonly valid: number
  readonly invalid: readonly { readonly moduleId: string; readonly reason: string }[]
  /** Folders that a group may write to. */
  readonly warnings: readonly string[]
}

export function judgeModules({ dir, entry, valid, invalid, warnings }: ModulesSeen): Diagnosis {
  if (entry === undefined) {
    return warn(`${dir} is not there: no module will run`, 'make it, or name another with --modules')
  }
  if ((entry.mode & OTHERS_WRITE) !== 0) {
    return fail(`everybody may write to ${dir}: their code would run`, `run \`chmod o-w ${dir}\``)
  }
  const [first] = invalid
  if (first !== undefined) {
    const others = invalid.length === 1 ? '' : `, and ${invalid.length - 1} more are invalid`
    return fail(
      `${first.moduleId} is invalid: ${first.reason}${others}`,
      'correct its module.json; the others load all the same',
    )
  }
  const found = `${valid} module${valid === 1 ? '' : 's'} in ${dir}`
  if (warnings.length > 0) return warn(`${found}; ${warnings[0]}`, 'run `chmod g-w` on it')
  return ok(found)
}

export interface ToolSeen {
  /** Whether it was found, and then whether it did what it is needed for; otherwise what it said. */
  readonly found: boolean
  readonly works: boolean
  readonly said: string
}

export function judgeSetpriv(seen: ToolSeen): Diagnosis {
  return judgeTool(seen, {
    well: 'setpriv --pdeathsig works: modules end with the daemon, however it ends',
    ill: 'module processes outlive a daemon that is killed; its next start ends them',
    remedy: 'install util-linux (`apt install util-linux`); that of BusyBox does not know --pdeathsig',
  })
}

export function judgePrlimit(seen: ToolSeen): Diagnosis {
  return judgeTool(seen, {
    well: 'prlimit works: the limits of modules are kept by the kernel',
    ill: 'open files and memory of modules are not limited by the kernel',
    remedy: 'install util-linux (`apt install util-linux`)',
  })
}

/** Only modules with `sandbox: true` need it. */
export function judgeBwrap(seen: ToolSeen & { readonly wantedBy: readonly string[] }): Diagnosis {
  const remedy =
    'install bubblewrap (`apt install bubblewrap`) where user namespaces are allowed, or take `sandbox` out of module.json'
  if (seen.works) return ok('bwrap works: modules may ask for a sandbox')
  const what = seen.found ? `bwrap does not work here (${seen.said})` : 'bwrap is not installed'
  if (seen.wantedBy.length === 0) return ok(`${what}; no module asks for a sandbox`)
  return fail(`${what}, so ${seen.wantedBy.join(', ')} cannot start`, remedy)
}

export interface WatchesSeen {
  readonly folders: number
  readonly watchesMax: number
  readonly instancesMax: number
  readonly instancesUsed: number
}

export function judgeWatches({ folders, watchesMax, instancesMax, instancesUsed }: WatchesSeen): Diagnosis {
  const raise = (name: string, value: number): string =>
    `run \`sysctl fs.inotify.${name}=${value}\` as root, and write it to /etc/sysctl.d/`
  if (folders > watchesMax) {
    return fail(
      `${folders} folders with modules want to be watched, the system allows ${watchesMax}`,
      raise('max_user_watches', Math.max(65_536, folders * 4)),
    )
  }
  if (instancesUsed >= instancesMax) {
    return fail(
      `all ${instancesMax} inotify instances of this account are in use`,
      raise('max_user_instances', Math.max(512, instancesMax * 2)),
    )
  }
  if (folders > watchesMax / 2) {
    return warn(
      `${folders} of ${watchesMax} watches are wanted, and others want some, too`,
      raise('max_user_watches', Math.max(65_536, folders * 4)),
    )
  }
  return ok(`${folders} folders to watch, ${watchesMax} allowed`)
}

export function judgeOpenFiles(seen: { readonly limit: number; readonly modules: number }): Diagnosis {
  const needed = FILES_BASE + seen.modules * FILES_PER_MODULE
  const remedy = `run \`ulimit -n ${Math.max(4_096, needed * 2)}\` first, or set LimitNOFILE= in the systemd unit`
  if (seen.limit < needed) {
    return fail(`a daemon started here may open ${seen.limit} files and needs ${needed}`, remedy)
  }
  if (seen.limit < needed * 2) return warn(`a daemon started here may open only ${seen.limit} files`, remedy)
  return ok(`a daemon started here may open ${seen.limit} files`)
}

function judgeTool(
  { found, works, said }: ToolSeen,
  { well, ill, remedy }: { readonly well: string; readonly ill: string; readonly remedy: string },
): Diagnosis {
  if (works) return ok(well)
  return warn(`${ill} (${found ? said : 'it is not installed'})`, remedy)
}

function ok(say: string): Diagnosis {
  return { verdict: 'ok', say }
}

function warn(say: string, remedy: string): Diagnosis {
  return { verdict: 'warn', say, remedy }
}

function fail(say: string, remedy: string): Diagnosis {
  return { verdict: 'fail', say, remedy }
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0')
}

const OTHERS_WRITE = 0o002
const STICKY = 0o1000
const MIB = 1_048_576
/** Below it the journal refuses changes soon. */
const ROOM_FAIL_BYTES = 64 * MIB
/** A segment of the journal, its snapshot, and some generations. */
const ROOM_WARN_BYTES = 1_024 * MIB
const INODES_FAIL = 1_000
/** `sun_path` without its last zero. */
const SOCKET_BYTES_MAX = 107
/** No daemon of this kind is older. */
const RELEASED_MS = Date.UTC(2026, 0, 1)
/** Two machines may differ by so much and be well. */
const AHEAD_MS_MAX = 60_000
/** Journal, socket, listeners, a hundred connections; then three pipes, a channel and calls for each module. */
const FILES_BASE = 256
const FILES_PER_MODULE = 8
