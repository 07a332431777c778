import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import type { Duplex, Readable } from 'node:stream'
import type { HeartbeatParams } from '../contracts/wire.ts'
import type { Clock, Timer } from '../kit/clock.ts'
import { InspectorDoor, obstacleOf } from './autopsy-door.ts'
import { readHeartbeat } from './heard.ts'
import type { Launch } from './isolation.ts'
import { killMarked, MARK } from './marks.ts'
import { heapSentence, type MemoryWatch } from './memory-watch.ts'
import { OutputGate, type OutputLine } from './output.ts'
import type { Departure, Isolation } from './port.ts'
import { type RpcAudience, RpcPeer } from './rpc.ts'
import type { RunnerHello } from './runner.ts'
import type { Inside } from './sandbox-proof.ts'

export interface Ending {
  readonly exitCode: number | null
  readonly signal: string | null
  /** Why, when that is known better than from code and signal. */
  readonly because?: string
}

/** What an ending means for an instance that nobody else wanted gone. */
export function departureOf({ exitCode, signal, because }: Ending): Departure {
  return because === undefined ? { how: 'exited', exitCode, signal } : { how: 'killed', because }
}

/** Whoever a host works for hears what it says. */
export interface HostOwner extends Pick<RpcAudience, 'request' | 'notice' | 'violation'> {
  output(line: OutputLine): void
  /** It closed its pipe but lives on. Without this it is killed: it is out of reach. */
  closed?(): void
}

/** Remembers which processes run, for a daemon that comes after this one. */
export interface HostLedger {
  /** Begins the mark of every process that this daemon starts. */
  readonly mark: string
  add(pid: number): void
  remove(pid: number): void
}

/** One child process with its own group and pipe. It belongs to nobody (a spare) until `adopt`. */
export class HostProcess {
  readonly pid: number | undefined
  /** What runs in its sandbox, once that has been seen; `pid` is then only the keeper, which understands nothing but KILL. */
  inner: Inside | undefined
  readonly mayFork: boolean
  readonly isolation: Isolation
  readonly peer: RpcPeer
  /** Opened only while it hangs, to see where. */
  readonly inspector: InspectorDoor
  /** Rejects with the reason when the process ends before it says hello. */
  readonly hello: Promise<RunnerHello>
  /** Resolves when the process is gone and all that it said has been heard. */
  readonly ended: Promise<Ending>
  readonly #output: OutputGate
  readonly #ledger: HostLedger
  readonly #clock: Clock
  readonly #mark: string
  #because: string | undefined
  #limitMb: number | undefined
  #beat: (figures: HeartbeatParams | undefined) => void = () => {}
  #owner: HostOwner | undefined
  #report: string[] = []
  #hello: (hello: RunnerHello) => void = () => {}
  #alive = true
  #mute: Timer | undefined

  constructor(launch: Launch, clock: Clock, ledger: HostLedger) {
    this.#mark = `${ledger.mark}.${++hosts}.`
    const child = spawn(launch.file, launch.args, {
      // A group of its own, so that it can be ended with all its descendants.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      env: { ...launch.env, [MARK]: this.#mark },
      cwd: launch.cwd,
    })
    this.pid = child.pid
    this.mayFork = launch.mayFork
    this.isolation = launch.isolation
    this.#clock = clock
    this.#ledger = ledger
    // By its handle: a number could be somebody else's by now.
    this.inspector = new InspectorDoor(obstacleOf(launch), () => child.kill('SIGUSR1'))
    if (child.pid !== undefined) {
      ledger.add(child.pid)
      offerToKernel(child.pid)
    }
    this.#output = new OutputGate(clock, SPARE_LINES_MAX, (line) => this.#tell(line))
    this.#output.capture(child.stdout as Readable, 'stdout')
    this.#output.capture(child.stderr as Readable, 'stderr')
    this.peer = new RpcPeer(child.stdio[3] as Duplex, clock, LIMITS, this.#audience())
    this.ended = this.#watch(child)
    this.hello = new Promise((resolve, reject) => {
      this.#hello = resolve
      void this.ended.then((ending) => reject(new Error(this.explain(ending))))
    })
    // A spare that nobody waits for may die unheard; the pool hears `ended`.
    this.hello.catch(() => undefined)
  }

  get alive(): boolean {
    return this.#alive
  }

  /** From now on `owner` hears it. */
  adopt(owner: HostOwner, linesPerSecondMax: number): void {
    this.#owner = owner
    this.#output.linesMax = linesPerSecondMax
  }

  /**
   * Keeps what it uses below a limit from now on, for as long as it lives.
   *
   * @param isTrusted - It runs our own program, whose heartbeats say how much that is; else it is looked at.
   */
  limitMemory(watch: MemoryWatch, limitMb: number, isTrusted: boolean): void {
    const { inner, mayFork } = this
    const pid = mayFork ? (inner?.group ?? this.pid) : this.program
    if (pid === undefined || !this.#alive) return
    const tenant = { pid, limitMb, hasFamily: mayFork, over: (because: string) => this.condemn(because) }
    const leave = watch.admit(tenant)
    if (isTrusted) {
      this.#limitMb = limitMb
      this.#beat = (figures) => watch.heard(tenant, figures?.rss_bytes, figures?.rests_ms)
    }
    void this.ended.then(leave)
  }

  /** KILL at once, for a reason that its ending tells. */
  condemn(because: string): void {
    if (this.#alive) this.#because ??= because
    this.signal('SIGKILL')
  }

  /** One line into the log of its owner, at the same rate as everything else that it says. */
  log(line: OutputLine): void {
    this.#output.pass(line)
  }

  /** Signals the whole group. A process that is gone is no error. */
  signal(name: 'SIGTERM' | 'SIGKILL'): void {
    if (this.pid === undefined || !this.#alive) return
    signalGroup(name === 'SIGTERM' ? (this.inner?.group ?? this.pid) : this.pid, name)
  }

  /** Process id of the program itself, sandbox or not. */
  get program(): number | undefined {
    return this.inner?.pid ?? this.pid
  }

  /** How it ended, with the last it wrote: for a process that ended before it could say why. */
  explain({ exitCode, signal }: Ending): string {
    const how = signal === null ? `exited with code ${exitCode}` : `was ended by ${signal}`
    return [`the host ${how}`, ...this.#report].join('\n')
  }

  /** The last it wrote to stderr: what Node says of an error that ends the process. */
  get report(): string {
    return this.#report.join('\n')
  }

  #tell(line: OutputLine): void {
    if (line.stream === 'stderr') {
      if (this.inspector.take(line.message)) return
      this.#report.push(line.message)
      if (this.#report.length > REPORT_LINES_MAX) this.#report.shift()
    }
    this.#owner?.output(line)
  }

  #audience(): RpcAudience {
    return {
      request: async (method, params, id, signal) => {
        if (this.#owner === undefined) throw new Error('a spare has nothing to ask')
        return await this.#owner.request(method, params, id, signal)
      },
      notice: (method, params, bytes) => {
        if (method === 'heartbeat') this.#beat(readHeartbeat(params))
        if (method !== 'hello') return this.#owner?.notice(method, params, bytes)
        this.#hello(params as RunnerHello)
        return undefined
      },
      violation: (reason) => {
        this.#owner?.violation(reason)
        this.signal('SIGKILL')
      },
      // An exit closes the pipe a moment before it is reported; one that lives on is out of reach and must go.
      closed: () => {
        if (this.#alive) this.#mute = this.#clock.after(CLOSED_WAIT_MS, () => this.#outOfReach())
      },
    }
  }

  #outOfReach(): void {
    if (this.#owner?.closed === undefined) this.signal('SIGKILL')
    else this.#owner.closed()
  }

  async #watch(child: ChildProcess): Promise<Ending> {
    // The pipes of one that says nothing on its way out are closed before its exit is known.
    const closed = new Promise<void>((resolve) => child.once('close', () => resolve()))
    const ending = await new Promise<Ending>((resolve) => {
      child.once('exit', (exitCode, signal) => resolve({ exitCode, signal }))
      child.once('error', (error) => {
        // Also emitted for a signal that could not be sent; only one that never ran has no pid.
        if (this.pid !== undefined) return
        this.#report.push(error.message)
        resolve({ exitCode: null, signal: null })
      })
    })
    this.#alive = false
    this.#mute?.cancel()
    if (this.pid !== undefined && this.mayFork) await this.#sweep(this.pid)
    await this.#drain(child, closed)
    if (this.pid !== undefined) this.#ledger.remove(this.pid)
    this.#output.close()
    this.peer.close()
    const isAborted = ending.signal !== null || Number(ending.exitCode) > 128
    const because = this.#because ?? (isAborted ? heapSentence(this.report, this.#limitMb) : undefined)
    return because === undefined ? ending : { ...ending, because }
  }

  /** Whatever it has started goes with it, also what has left its group. A sandbox has seen to that already. */
  async #sweep(pid: number): Promise<void> {
    signalGroup(pid, 'SIGKILL')
    if (this.isolation !== 'bwrap') await killMarked(this.#mark, this.#clock)
  }

  /** What it said before its end is still in the pipes. A descendant that escaped may hold them open for ever. */
  async #drain(child: ChildProcess, closed: Promise<void>): Promise<void> {
    if (this.pid === undefined) return
    await new Promise<void>((resolve) => {
      const enough = this.#clock.after(DRAIN_MS, resolve)
      void closed.then(() => {
        enough.cancel()
        resolve()
      })
    })
    for (const stream of child.stdio) stream?.destroy()
  }
}

/**
 * When the machine runs out of memory the kernel ends what claims to be least needed: modules before the daemon.
 * Whoever it belongs to may make a process cheaper, never dearer.
 */
function offerToKernel(pid: number): void {
  try {
    const own = Number(readFileSync('/proc/self/oom_score_adj', 'latin1'))
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(Math.min(1_000, own + 300)))
  } catch {
    // No such file on this system, or the process ended already.
  }
}

function signalGroup(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(-pid, name)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // ESRCH: all gone. EPERM: what is left has taken another account, out of our reach.
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}

/** How many were started: the mark of each is its own. */
let hosts = 0

const LIMITS = {
  // The most a manifest lets an action take at the same time.
  outstandingMax: 1_024,
  // The runner asks 16 at most; each may carry a megabyte.
  askedMax: 64,
  // Heartbeats are two, logs at most 2,000: only a host gone mad says more.
  unaskedPerSecondMax: 20_000,
  // A host that does not read for so long is dead to the world.
  bufferedBytesMax: 16 * 1_048_576,
} as const

const SPARE_LINES_MAX = 50
/** A syntax error with its place and a stack. */
const REPORT_LINES_MAX = 40
const CLOSED_WAIT_MS = 1_000
const DRAIN_MS = 200
