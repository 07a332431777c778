import type { ReloadResult } from '../contracts/status.ts'
import { Keyed } from '../kit/keyed.ts'
import type { ReloadOrder } from './port.ts'

/** More changes than this at once are not patience but a loop somewhere. */
const WAITING_MAX = 100

interface Target {
  readonly generation: string
  readonly strategy: string
  readonly settings: string
}

export interface RequestsOptions {
  readonly full: () => Error
  /** Names what a reload would bring up: equal names, equal outcomes. */
  target(order: ReloadOrder): Promise<Target>
  /** Whether there is something that serves, so that a reload is a swap. */
  serves(): boolean
  reload(order: ReloadOrder): Promise<ReloadResult>
  /** A newer save takes the place of the one that settles. */
  giveWayTo(generation: string): Promise<void>
}

/**
 * Changes of one module that were asked for: one at a time, in order of arrival. Equal reloads are one. A stop does not
 * come here: it is understood at once.
 */
export class Requests {
  readonly #options: RequestsOptions
  readonly #turns: Keyed
  /** The order that came last, while it waits or is carried out: only to that one can an equal one be added. */
  #newest: { readonly key: string; readonly done: Promise<ReloadResult> } | undefined

  constructor(options: RequestsOptions) {
    this.#options = options
    this.#turns = new Keyed(WAITING_MAX, options.full)
  }

  /** Any other change: of settings, of the number of replicas. @throws What `full` makes, and what `work` throws. */
  change<T>(work: () => Promise<T>): Promise<T> {
    this.#newest = undefined
    return this.#turns.run('', work)
  }

  /** @throws NexusError when what should be loaded cannot be had, and nothing serves or it was named. */
  async reload(order: ReloadOrder): Promise<ReloadResult> {
    const key = await this.#keyOf(order)
    while (this.#newest?.key === key) {
      const result = await this.#newest.done
      // A save that found nothing new is no answer for somebody who wants a reload in any case.
      if (order.onlyIfChanged || result.reloaded || result.rolled_back) return result
    }
    const newest = { key, done: this.#begin(order) }
    // What cannot be read has no name: it is equal to nothing.
    this.#newest = key === '' ? undefined : newest
    try {
      return await newest.done
    } finally {
      if (this.#newest === newest) this.#newest = undefined
    }
  }

  /** Where nothing serves there is nothing to lose: the newest start takes the place of the one under way. */
  #begin(order: ReloadOrder): Promise<ReloadResult> {
    const { serves, reload } = this.#options
    return serves() ? this.#turns.run('', () => reload(order)) : reload(order)
  }

  async #keyOf(order: ReloadOrder): Promise<string> {
    const { target, serves, giveWayTo } = this.#options
    const { generation: named, onlyIfChanged } = order
    try {
      const { generation, strategy, settings } = await target(order)
      if (onlyIfChanged) await giveWayTo(generation)
      return JSON.stringify([generation, named !== undefined, strategy, settings])
    } catch (error) {
      // What the folder holds cannot be read: while something serves, the reload itself tells so, on record.
      if (named === undefined && serves()) return ''
      throw error
    }
  }
}
