import { NexusError } from '../contracts/failure.ts'
import type { MaintenanceTask } from '../contracts/maintenance.ts'
import type { Clock } from '../kit/clock.ts'
import { sleep } from '../kit/clock.ts'
import type { Upkeep } from './port.ts'

/** `done: false`: it goes on, ask again. */
export type WorkAnswer = { readonly done: false } | { readonly done: true; readonly result: object }

interface Job {
  readonly result: Promise<object>
  readonly stop: AbortController
}

/** A command of a module is answered within five minutes; the work may take longer, so it is asked for again. */
const ANSWER_MS = 120_000

/**
 * Does the work of runs: each once, whoever asks for it how often, and never two of one task at the same time.
 */
export class Work {
  readonly #clock: Clock
  readonly #upkeep: () => Upkeep
  /** By run; kept until the run is closed, so that a step which is repeated finds what was done. */
  readonly #jobs = new Map<string, Job>()
  readonly #last = new Map<MaintenanceTask, Promise<unknown>>()

  constructor(clock: Clock, upkeep: () => Upkeep) {
    this.#clock = clock
    this.#upkeep = upkeep
  }

  /** @throws NexusError `NOT_AVAILABLE`. */
  requireBuilt(task: MaintenanceTask): void {
    if (this.#upkeep()[task] === undefined) {
      throw new NexusError('NOT_AVAILABLE', { what: `the maintenance task ${task}` })
    }
  }

  /** Begins the work of a run, or joins it. Rejects as the work does. */
  async carryOut(runId: string, task: MaintenanceTask): Promise<WorkAnswer> {
    const job = this.#jobs.get(runId) ?? this.#begin(runId, task)
    const patience = new AbortController()
    const goesOn = sleep(this.#clock, ANSWER_MS, patience.signal).then(
      () => ({ done: false }) as const,
      () => ({ done: false }) as const,
    )
    try {
      return await Promise.race([job.result.then((result) => ({ done: true, result }) as const), goesOn])
    } finally {
      patience.abort()
    }
  }

  /** The run is over: its work is stopped if it still goes on, and forgotten. */
  release(runId: string, because: string): void {
    this.#jobs.get(runId)?.stop.abort(new Error(because))
    this.#jobs.delete(runId)
  }

  /** Stops everything, and resolves when it has stopped. */
  async close(because: string): Promise<void> {
    for (const runId of [...this.#jobs.keys()]) this.release(runId, because)
    await Promise.all(this.#last.values())
  }

  #begin(runId: string, task: MaintenanceTask): Job {
    const stop = new AbortController()
    const before = this.#last.get(task) ?? Promise.resolve()
    const result = before.then(() => {
      stop.signal.throwIfAborted()
      const work = this.#upkeep()[task]
      if (work === undefined) throw new NexusError('NOT_AVAILABLE', { what: `the maintenance task ${task}` })
      return work(stop.signal)
    })
    // Whoever asks for the answer is told of a failure; the next one only waits for the end.
    const ended = result.catch(() => undefined)
    this.#last.set(task, ended)
    const job = { result, stop }
    this.#jobs.set(runId, job)
    return job
  }
}
