import { readdirSync, readlinkSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Launch } from './isolation.ts'

/** Where the inspector of a process listens, on loopback. */
export interface InspectorAddress {
  readonly port: number
  /** Names the session and cannot be guessed: who does not know it cannot connect. */
  readonly path: string
}

/**
 * The inspector of one process, from outside: has Node in it open it, and learns from Node's own lines on stderr where
 * it listens. Those lines are not the module's, so they are kept out of its log.
 */
export class InspectorDoor {
  /** Why Node in that process cannot open it, if it cannot. */
  readonly obstacle: string | undefined
  readonly #signal: () => boolean
  /** Lines about it that are believed: at first none, then those that one signal may cause. */
  #openings = 0
  #isWaiting = false
  #wasAsked = false
  #address: InspectorAddress | undefined
  #told: (address: InspectorAddress) => void = () => {}

  /** @param signal - Sends SIGUSR1 to that process alone; false when it is gone. */
  constructor(obstacle: string | undefined, signal: () => boolean) {
    this.obstacle = obstacle
    this.#signal = signal
  }

  /** Where it listened when it was opened last; it may have been closed since. */
  get address(): InspectorAddress | undefined {
    return this.#address
  }

  /**
   * Asks for it to be opened and calls `opened` when it is, also when it opens once more for the same signal: Node asks
   * the running code as well as the loop. A process that is busy outside JavaScript opens it only when it comes back;
   * it is not asked a second time meanwhile.
   */
  knock(opened: (address: InspectorAddress) => void): void {
    this.#told = opened
    if (this.#isWaiting || !this.#signal()) return
    this.#wasAsked = true
    this.#isWaiting = true
    this.#openings = OPENINGS_MAX
  }

  /** Takes a line of stderr. Returns whether it was one of Node's own about its inspector. */
  take(line: string): boolean {
    if (!this.#wasAsked || !OWN_LINE.test(line)) return false
    const { port, path } = LISTENING.exec(line)?.groups ?? {}
    if (port === undefined || path === undefined || this.#openings === 0) return true
    this.#openings -= 1
    this.#isWaiting = false
    this.#address = { port: Number(port), path }
    this.#told(this.#address)
    return true
  }
}

/** Why a process that was started so cannot be asked to open an inspector; undefined when it can. */
export function obstacleOf({ args, isolation }: Pick<Launch, 'args' | 'isolation'>): string | undefined {
  if (!args.some((flag) => flag.startsWith('--inspect-port=')))
    return 'it runs no Node that this daemon started'
  if (isolation === 'bwrap') return 'its sandbox keeps the inspector in'
  if (!args.includes('--permission') || args.includes('--allow-inspector')) return undefined
  return 'this Node cannot open its inspector behind the wall'
}

/**
 * Whether this process itself listens on that port of 127.0.0.1. A module can write a line that looks like Node's, and
 * must not choose whom the daemon connects to.
 */
export async function isListeningOn(pid: number, port: number): Promise<boolean> {
  try {
    const sockets = inodesOf(await readFile('/proc/self/net/tcp', 'latin1'), port)
    const dir = `/proc/${pid}/fd`
    return readdirSync(dir).some((name) => sockets.has(linkOf(`${dir}/${name}`)))
  } catch {
    return false
  }
}

/** The sockets that listen on a port, as links to them read. */
function inodesOf(table: string, port: number): ReadonlySet<string> {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const rows = table.split('\n').map((row) => row.trim().split(/\s+/))
  const listening = rows.filter(([, local, , state]) => local?.endsWith(wanted) && state === LISTEN)
  return new Set(listening.map((row) => `socket:[${row[INODE_AT]}]`))
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return '' // closed since it was listed
  }
}

const LISTENING = /^Debugger listening on ws:\/\/127\.0\.0\.1:(?<port>\d{1,5})(?<path>\/[0-9a-f-]{36})$/
const OWN_LINE =
  /^(Debugger (listening on|ending on) ws:|Debugger attached\.$|For help, see: https:\/\/nodejs\.org\/|Waiting for the debugger to disconnect|Starting inspector on .* failed: )/
/** One for the running code, one or two for the loop. */
const OPENINGS_MAX = 3
/** Columns of /proc/net/tcp: the state of a socket that listens, and where its inode stands. */
const LISTEN = '0A'
const INODE_AT = 9
