import assert from 'node:assert'
import type { ModuleState } from '../contracts/status.ts'
import { Mailbox } from '../kit/mailbox.ts'
import { moveOf } from '../kit/state-table.ts'
import type { Acceptance } from './acceptance.ts'
import type { CallDesk } from './call-desk.ts'
import { type Fitting, SCALED_TO_NONE } from './fitting.ts'
import { LIFECYCLE, type ModuleAct, type ModuleEvent } from './lifecycle-table.ts'
import type { Losses } from './losses.ts'
import type { Presence } from './presence.ts'
import type { Reloads } from './reloads.ts'
import type { Requirements } from './requirements.ts'
import type { Letter, UnitCore } from './unit-core.ts'

export interface LifeParts {
  readonly core: UnitCore
  readonly desk: CallDesk
  readonly reloads: Reloads
  readonly acceptance: Acceptance
  readonly losses: Losses
  readonly requirements: Requirements
  readonly presence: Presence
  readonly fitting: Fitting
  /** Something of it is no longer as it was. */
  changed(): void
}

/**
 * The life of one module: reads its letters one at a time, asks the table what they mean, and has it done.
 *
 * Nothing here waits inside a letter: what takes time runs beside the mailbox and posts its end, so a stop is always
 * understood at once.
 */
export class Life {
  readonly #parts: () => LifeParts
  readonly #box: Mailbox<Letter>

  /** @param parts - Asked at each letter: the parts of a unit are made one after the other. */
  constructor(parts: () => LifeParts, onBug: (error: unknown) => void) {
    this.#parts = parts
    this.#box = new Mailbox((letter) => this.#read(letter), onBug)
  }

  post(event: ModuleEvent, because: string, more: Omit<Letter, 'event' | 'because'> = {}): void {
    this.#box.post({ event, because, ...more })
  }

  /** Resolves when every letter posted so far has been read. */
  idle(): Promise<void> {
    return this.#box.idle()
  }

  #read(letter: Letter): void {
    const { core, requirements, presence, changed } = this.#parts()
    const { id, works, standing, env } = core
    if (letter.run !== undefined && letter.run !== works.run) return
    const { state } = standing
    const move = moveOf<ModuleState, ModuleEvent, ModuleAct>(LIFECYCLE, state, letter.event)
    if (move === undefined) {
      env.log('debug', `${id} is ${state} and ignores ${letter.event}`, { module: id })
      letter.reply?.(undefined)
      return
    }
    if (move.to !== 'waiting') requirements.release()
    standing.enter(move.to, letter.because)
    this.#act(move.act, letter)
    presence.weigh()
    changed()
    standing.settle()
  }

  #act(act: ModuleAct, letter: Letter): void {
    const { core, desk, presence, fitting } = this.#parts()
    switch (act) {
      case 'bring':
        this.#bring(letter)
        break
      case 'announce':
        this.#announce(letter)
        break
      case 'judge':
        this.#judge(letter)
        break
      case 'hold':
        presence.hold()
        break
      case 'resume':
        this.#resume(letter)
        break
      case 'swap':
        this.#swap(letter)
        break
      case 'fit':
        if (fitting.trim() === 'missing') this.#bring(letter)
        break
      case 'empty':
        this.#discard()
        fitting.empty()
        break
      case 'halt':
        this.#halt()
        break
      case 'alarm':
        core.env.log('error', `${core.id} is in a crash loop: ${letter.because}`, { module: core.id })
        if (core.self.takers.length === 0) desk.dismiss()
        break
      case 'giveUp':
      case 'reject':
        this.#discard()
        // Nothing comes up by itself: who knocks had better be told so at once.
        core.ports.release().catch(core.env.onBug)
        desk.dismiss()
        break
      case 'rest':
        if (!core.self.callable) desk.dismiss()
        desk.pump()
        presence.look('what it requires is ready')
        break
      case 'wait':
        break
    }
  }

  #bring({ event, generation }: Letter): void {
    const { core, requirements, fitting } = this.#parts()
    const { retries, works, standing, self, post } = core
    retries.disarm()
    if (event === 'renew' || event === 'fallback') this.#discard()
    if (generation !== undefined) works.generation = generation
    const needs = requirements.judge()
    if (self.replicasWanted === 0) post('blocked', SCALED_TO_NONE)
    else if (needs.met) fitting.bring()
    else if (standing.state === 'starting') post('blocked', needs.because)
  }

  #announce({ event }: Letter): void {
    const { core, desk, acceptance, presence } = this.#parts()
    desk.pump()
    const set = core.works.serving
    if (event === 'up' && set !== undefined) {
      const { id: generation, manifest } = set.generation
      core.note('module.started', { generation, version: manifest.version })
      acceptance.await(set)
    }
    presence.look('what it requires is ready')
  }

  #resume({ event, because }: Letter): void {
    const { core, desk, presence } = this.#parts()
    desk.pump()
    core.ports.direct()
    if (event === 'unblocked') core.note('module.resumed', { reason: because })
    // What was wished for while it could not be heard.
    if (core.self.replicasWanted === 0) core.post('emptied', SCALED_TO_NONE)
    presence.look('what it requires is ready')
  }

  #judge(letter: Letter): void {
    const { core, losses } = this.#parts()
    const { manifest } = core.self
    assert(manifest !== undefined, 'what runs has a manifest')
    losses.judge(letter, { restart: manifest.restart, settleMs: manifest.timeouts.settle_ms })
  }

  #swap({ order, reply }: Letter): void {
    const { core, reloads } = this.#parts()
    const old = core.works.serving
    assert(order !== undefined && old !== undefined, 'a reload comes with its order, while something serves')
    reloads.begin(order, old).then((result) => reply?.(result), core.env.onBug)
  }

  #halt(): void {
    const { core, desk, reloads } = this.#parts()
    const { works, standing, ports, note, env } = core
    reloads.abort('the module was stopped')
    this.#discard()
    desk.dismiss()
    works.generation = undefined
    const { run } = works
    const over = async (): Promise<void> => {
      await reloads.idle()
      await works.retired()
      await ports.release()
      note('module.stopped', { reason: standing.because })
      this.post('halted', standing.because, { run })
    }
    over().catch(env.onBug)
  }

  /** Whatever runs or comes up is no longer wanted. */
  #discard(): void {
    const { core, requirements, acceptance } = this.#parts()
    core.retries.disarm()
    requirements.rest()
    acceptance.cancel()
    core.works.discard()
  }
}
