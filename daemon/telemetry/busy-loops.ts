import type { Clock } from '../kit/clock.ts'

/** A process of modules, as it is at one look. */
export interface LoopSubject {
  readonly pid: number
  /** Whose it is; several when modules share it. */
  readonly owners: readonly { readonly moduleId: string; readonly instance: string }[]
  readonly elu: number
  /** Undefined while it rests now and then. See `Restless` of the host. */
  readonly restless: { readonly sinceMs: number; readonly unaskedMs: number } | undefined
  /** Connections that the daemon forwards to it now, or has since the start: work that is no call. */
  readonly connections: { readonly open: number; readonly accepted: number }
}

/** What the daemon itself did since the look before. */
export interface OwnLoop {
  readonly elu: number
  readonly intervalMs: number
  /** Facts, requests: whatever it was asked for. */
  readonly workDone: number
}

/** One stretch of time in which a loop did not rest and had nothing to do. */
export interface BusyEpisode {
  /** Undefined: the daemon itself. */
  readonly subject?: Pick<LoopSubject, 'pid' | 'owners'>
  /** Wall time in milliseconds. */
  readonly sinceMs: number
  readonly elu: number
}

/**
 * Without a call, a connection or a rest for this long. To fill a cache, to compile, to collect garbage takes seconds;
 * twenty of them that nobody asked for are a loop that does not wait.
 */
export const UNASKED_MS = 20_000
/** The daemon's own loop is looked at over three rounds of ten seconds. */
const OWN_MS = 30_000
const ELU_BUSY = 0.9
/** A core does thousands: one that is busy with fewer is not busy with them. */
const WORK_PER_SECOND = 100

interface Chart {
  accepted: number
  /** Of its unasked time: what connections explain. */
  excusedMs: number
  episode: BusyEpisode | undefined
}

/**
 * Finds loops that turn without anything to do, from looks ten seconds apart: begin and end of each, once.
 *
 * A module that works on a call is none, however long and hard; neither is one whose connections are open. One that
 * spins while calls come now and then is: only the time in which nobody asked counts.
 */
export class BusyLoops {
  readonly #clock: Clock
  readonly #charts = new Map<number, Chart>()
  #own: { busyMs: number; episode: BusyEpisode | undefined } = { busyMs: 0, episode: undefined }

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Those that go on. */
  get episodes(): readonly BusyEpisode[] {
    const all = [this.#own.episode, ...[...this.#charts.values()].map(({ episode }) => episode)]
    return all.filter((episode) => episode !== undefined)
  }

  /** What began and what ended, as of this look. */
  look(subjects: readonly LoopSubject[], own: OwnLoop): { began: BusyEpisode[]; ended: BusyEpisode[] } {
    const before = new Set(this.episodes)
    const seen = new Set(subjects.map(({ pid }) => pid))
    for (const pid of [...this.#charts.keys()]) if (!seen.has(pid)) this.#charts.delete(pid)
    for (const subject of subjects) this.#weigh(subject)
    this.#weighOwn(own)
    const after = new Set(this.episodes)
    return {
      began: [...after].filter((episode) => !before.has(episode)),
      ended: [...before].filter((episode) => !after.has(episode)),
    }
  }

  #weigh(subject: LoopSubject): void {
    const { pid, owners, elu, restless, connections } = subject
    if (restless === undefined) {
      this.#charts.delete(pid)
      return
    }
    const chart = this.#charts.get(pid) ?? {
      accepted: connections.accepted,
      excusedMs: 0,
      episode: undefined,
    }
    this.#charts.set(pid, chart)
    const served = connections.open > 0 || connections.accepted !== chart.accepted
    chart.accepted = connections.accepted
    if (served) chart.excusedMs = restless.unaskedMs
    if (chart.episode !== undefined || restless.unaskedMs - chart.excusedMs < UNASKED_MS) return
    const lastedMs = this.#clock.elapsed() - restless.sinceMs
    chart.episode = { subject: { pid, owners }, sinceMs: this.#clock.now() - lastedMs, elu }
  }

  #weighOwn({ elu, intervalMs, workDone }: OwnLoop): void {
    const own = this.#own
    const isBusy = elu >= ELU_BUSY && workDone < (WORK_PER_SECOND * intervalMs) / 1_000
    own.busyMs = isBusy ? own.busyMs + intervalMs : 0
    if (!isBusy) own.episode = undefined
    else if (own.busyMs >= OWN_MS) own.episode ??= { sinceMs: this.#clock.now() - own.busyMs, elu }
  }
}
