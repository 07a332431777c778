import { NexusError } from '../contracts/failure.ts'
import { CATEGORIES, type Category, type MissionId, type ModuleId } from '../contracts/ids.ts'
import { timestamp } from '../kit/clock.ts'
import { Agenda } from './agenda.ts'
import { runAttempt } from './attempt.ts'
import { firstStarts } from './course.ts'
import { claimVerdict } from './decisions.ts'
import type { Moment } from './explain.ts'
import { DAEMON } from './facts.ts'
import { AGED_MS, Lanes, rankOf } from './lanes.ts'
import { claimDrafts, decided, type Ledger, type Place, StaleAttempt } from './ledger.ts'
import type { Mission } from './mission.ts'
import type { MissionAct } from './mission-table.ts'
import { ModuleSlots } from './module-slots.ts'
import type { MissionPorts } from './port.ts'
import { ProgressFeed, type ProgressListener } from './progress-feed.ts'
import { closeCutAttempts } from './recovery.ts'
import { type Halt, Running } from './running.ts'
import type { Shelf } from './shelf.ts'

/** Carries out what the table says: keeps the lanes, the attempts under way, and the two agendas. */
export class Engine {
  readonly #ports: MissionPorts
  readonly #shelf: Shelf
  readonly #ledger: Ledger
  readonly #lanes: Lanes
  /** When queued missions may start. */
  readonly #starts: Agenda
  /** When approvals are no longer waited for. */
  readonly #expiries: Agenda
  readonly #slots: ModuleSlots
  readonly #feed: ProgressFeed
  readonly #running = new Map<MissionId, Running>()
  /** From the moment a lane starts them: a claim counts before its attempt does. */
  readonly #attempts = new Set<Promise<void>>()
  #cutting = false
  /** Expired, but not yet on record. */
  readonly #overdue = new Set<MissionId>()
  /** Since when what is queued could have run; kept when it is offered again. */
  readonly #offeredMs = new Map<MissionId, number>()
  readonly #listeners: ((mission: Mission) => void)[] = []

  constructor(ports: MissionPorts, shelf: Shelf, ledger: Ledger) {
    this.#ports = ports
    this.#shelf = shelf
    this.#ledger = ledger
    this.#lanes = new Lanes(ports.settings, (id) => this.#start(id))
    this.#slots = new ModuleSlots(
      (moduleId) => ports.calls.module(moduleId).missionsMax,
      (id) => this.#offer(ledger.get(id)),
    )
    this.#feed = new ProgressFeed(ports.clock)
    this.#starts = new Agenda(ports.clock, (id) => this.#offer(ledger.get(id)))
    this.#expiries = new Agenda(ports.clock, (id) => this.#expireInTime(id))
  }

  /** What a durable change asks for. */
  act(act: MissionAct, mission: Mission): void {
    this.#expiries.drop(mission.id)
    this.#starts.drop(mission.id)
    this.#offeredMs.delete(mission.id)
    switch (act) {
      case 'enqueue':
        this.#enqueue(mission)
        break
      case 'ask':
        // From now on, not from the record's wall time: the wall clock may have jumped since that was taken.
        this.#expiries.put(mission.id, this.#ports.settings.approval_days * DAY_MS)
        break
      case 'execute':
        // Here, in the claim's own turn: whoever decides next finds an attempt that can be stopped.
        this.#running.set(mission.id, this.#handle(mission))
        break
      case 'settle':
        this.#lanes.withdraw(mission.id)
        this.#slots.drop(mission.id)
        if (mission.status !== 'suggestion') this.#tell(mission)
    }
  }

  /**
   * Takes a place for a mission that is about to be created, when one is free and nobody waits for it: its claim goes
   * on record with its creation, and then it has begun.
   */
  place(mission: Mission): Place | undefined {
    const { id, order, status } = mission
    if (status !== 'queued' || this.#notBeforeMs(mission) > 0) return undefined
    const leaveLane = this.#lanes.takePlace(order.category)
    if (leaveLane === undefined) return undefined
    const leaveModules = this.#slots.take(mission)
    if (leaveModules === undefined) {
      this.#slots.drop(id)
      leaveLane()
      return undefined
    }
    const attempt = Promise.withResolvers<void>()
    this.#attempts.add(attempt.promise)
    const leave = (): void => {
      leaveModules()
      leaveLane()
      this.#attempts.delete(attempt.promise)
      attempt.resolve()
    }
    const starts = firstStarts(mission, this.#ports.calls)
    return {
      claim: claimDrafts(id, mission.epoch + 1, { queueWaitMs: 0, starts }),
      begin: (claimed) => void this.#work(claimed).finally(leave), // never rejects
      leave,
    }
  }

  /** Told of what actions say; at most five times a second for each mission. */
  onProgress(listener: ProgressListener): () => void {
    return this.#feed.listen(listener)
  }

  onEnded(listener: (mission: Mission) => void): void {
    this.#listeners.push(listener)
  }

  /** Asks the attempt of a mission to end; resolves when it has. */
  stop(id: MissionId, halt: Halt): Promise<void> {
    const running = this.#running.get(id)
    running?.stop(halt)
    return running?.ended ?? Promise.resolve()
  }

  moment(id: MissionId): Moment {
    return {
      waitMs: this.#expiries.waitMs(id) ?? this.#starts.waitMs(id),
      running: this.#running.get(id),
      limitedBy: this.#slots.waitsFor(id),
    }
  }

  counters(): { readonly depth: Record<Category, number>; readonly running: number } {
    const waiting = this.#slots.depth()
    const depth = this.#lanes.depth()
    for (const category of CATEGORIES) depth[category] += waiting[category] ?? 0
    return { depth, running: this.#running.size }
  }

  /** What omens say of a module is another thing now: those that wait for it may try again. */
  look(moduleId: ModuleId): void {
    this.#slots.look(moduleId)
  }

  async recover(): Promise<void> {
    const cuts = closeCutAttempts(this.#shelf.all())
    if (cuts.length > 0) await this.#ports.recorder.appendAll(cuts)
    for (const mission of this.#shelf.all()) {
      if (mission.status === 'queued') this.#enqueue(mission, true)
      if (mission.status === 'awaiting_approval') this.#expiries.put(mission.id, this.#approvalMs(mission))
    }
    this.#lanes.open()
  }

  async drain(deadlineMs: number): Promise<void> {
    this.#lanes.close()
    this.#starts.close()
    this.#expiries.close()
    const cut = this.#ports.clock.after(deadlineMs, () => {
      this.#cutting = true
      for (const running of this.#running.values()) running.stop({ kind: 'drain' })
    })
    await Promise.all(this.#attempts)
    cut.cancel()
  }

  #handle({ id, epoch }: Mission): Running {
    return new Running(id, epoch, (said) => {
      const progress = { ...said, at: timestamp(this.#ports.clock) }
      this.#feed.say(id, progress)
      return progress
    })
  }

  #tell(mission: Mission): void {
    for (const listener of this.#listeners) {
      try {
        listener(mission)
      } catch (error) {
        this.#ports.log('error', 'a listener failed', { mission: mission.id, error })
      }
    }
  }

  #enqueue(mission: Mission, isRecovered = false): void {
    const { clock } = this.#ports
    const sinceMs = clock.now() - Date.parse(mission.since)
    // The wall clock may have jumped since: a wait is never longer than it was meant to be.
    const retryMs = Math.min(mission.retryInMs, mission.retryInMs - sinceMs)
    const waitMs = Math.max(this.#notBeforeMs(mission), retryMs)
    if (waitMs > 0) this.#starts.put(mission.id, waitMs)
    else this.#offer(mission, isRecovered ? Math.min(AGED_MS, Math.max(0, -waitMs)) : 0)
  }

  /** How long until it may start at all; not above zero when it may. */
  #notBeforeMs({ order }: Mission): number {
    return (Date.parse(order.not_before ?? '') || 0) - this.#ports.clock.now()
  }

  /** @param waitedMs - Before this process: a restart takes nobody's place in the line. */
  #offer({ id, status, order }: Mission, waitedMs = 0): void {
    if (status !== 'queued') return
    const sinceMs = this.#offeredMs.get(id) ?? this.#ports.clock.elapsed() - waitedMs
    this.#offeredMs.set(id, sinceMs)
    this.#lanes.offer(id, order.category, rankOf(order.priority, sinceMs))
  }

  async #start(id: MissionId): Promise<void> {
    const attempt = this.#attempt(id)
    this.#attempts.add(attempt)
    await attempt
    this.#attempts.delete(attempt)
  }

  /** Never rejects: a mission that cannot be carried on stands as its last record has it. */
  async #attempt(id: MissionId): Promise<void> {
    const { clock, log } = this.#ports
    const queueWaitMs = clock.elapsed() - (this.#offeredMs.get(id) ?? clock.elapsed())
    let leave: (() => void) | undefined
    try {
      // One that was at rest is read from the disk before it is in memory again.
      leave = this.#slots.take(this.#shelf.get(id) ?? (await this.#ledger.find(id)))
      if (leave === undefined) return
      const claimed = await this.#ledger.claim(id, (mission) =>
        claimVerdict(mission, queueWaitMs, this.#ports),
      )
      // Offered twice, say: the attempt that is under way is somebody else's.
      if (claimed !== undefined) await this.#work(claimed)
    } catch (error) {
      log('error', 'a mission could not be claimed', { mission: id, error })
      // The disk was full, say. It still waits, so it is offered again.
      if (error instanceof NexusError && error.code.startsWith('JOURNAL_')) {
        this.#starts.put(id, CLAIM_AGAIN_MS)
      }
    } finally {
      leave?.()
    }
  }

  /** Carries out a claim. Never rejects. */
  async #work(claimed: Mission): Promise<void> {
    const { id } = claimed
    const running = this.#running.get(id)
    if (running === undefined) return
    try {
      if (this.#cutting) running.stop({ kind: 'drain' })
      await runAttempt(claimed, running, this.#ledger, this.#ports)
    } catch (error) {
      const level = error instanceof StaleAttempt ? 'warn' : 'error'
      this.#ports.log(level, 'an attempt could not be carried on', { mission: id, error })
    } finally {
      if (this.#running.get(id) === running) this.#running.delete(id)
      this.#feed.end(id)
      running.end()
    }
  }

  /** Called before an approval is taken: one that ran out while nobody looked expires now. */
  async expireOverdue(id: MissionId): Promise<void> {
    const mission = this.#shelf.get(id)
    if (mission?.status !== 'awaiting_approval') return
    // Asked before the work was taken up, nothing is in the agenda yet.
    const waitMs = this.#expiries.waitMs(id) ?? this.#approvalMs(mission)
    if (waitMs <= 0 || this.#overdue.has(id)) await this.#expire(id)
  }

  async #expire(id: MissionId): Promise<void> {
    const days = this.#ports.settings.approval_days
    const expired = decided('mission.expired', DAEMON, { after_days: days })
    this.#overdue.add(id)
    await this.#ledger.change(id, 'expired', ({ status }) =>
      status === 'awaiting_approval' ? expired : undefined,
    )
    this.#overdue.delete(id)
  }

  #expireInTime(id: MissionId): void {
    this.#expire(id).catch((error: unknown) => {
      // The disk is full, say. Until it can be recorded, no approval is taken either.
      this.#ports.log('warn', 'an approval could not be expired', { mission: id, error })
      this.#expiries.put(id, EXPIRE_AGAIN_MS)
    })
  }

  #approvalMs(mission: Mission): number {
    const sinceMs = Math.max(0, this.#ports.clock.now() - Date.parse(mission.since))
    return this.#ports.settings.approval_days * DAY_MS - sinceMs
  }
}

const DAY_MS = 86_400_000
const EXPIRE_AGAIN_MS = 60_000
/** Room is made by people, so a second is soon enough. */
const CLAIM_AGAIN_MS = 1_000
