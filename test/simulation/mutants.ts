import { registerHooks } from 'node:module'

/** One planted bug: what is replaced in which file of the daemon. `find` must stand there exactly once. */
export interface Mutant {
  readonly name: string
  readonly file: string
  readonly find: string
  readonly replace: string
  /** The embedded engine does not come to it by itself; the conformance suite does it on purpose. */
  readonly by?: 'conformance'
}

/** Loads the daemon with this bug in it; to be called before anything of the daemon is imported. */
export function plant({ file, find, replace, name }: Mutant): void {
  const target = new URL(`../../${file}`, import.meta.url).href
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context)
      if (url !== target) return loaded
      const source = String(loaded.source)
      if (source.split(find).length !== 2) throw new Error(`the place of '${name}' is not in ${file} once`)
      return { ...loaded, source: source.replace(find, () => replace) }
    },
  })
}

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'acknowledged before the sync',
    file: 'daemon/storage/active-segment.ts',
    find: 'this.#foreign(this.#sizeBytes + bytes.length), file.datasync()',
    replace: 'this.#foreign(this.#sizeBytes + bytes.length)',
  },
  {
    name: 'readers are told before the disk has it',
    file: 'daemon/storage/chain-writer.ts',
    find: 'const outcome = await this.#active.commit(batch.bytes)',
    replace: "void this.#active.commit(batch.bytes)\n    const outcome = { how: 'done' } as Outcome",
  },
  {
    name: 'what a start reads is not made durable',
    file: 'daemon/storage/active-segment.ts',
    find: 'if (sizeBytes > 0) await file.datasync()',
    replace: '',
  },
  {
    name: 'a moved segment is not made sure of',
    file: 'daemon/storage/journal.ts',
    find: 'await disk.syncDir(paths.segments)',
    replace: '',
  },
  {
    name: 'a short write is taken for a whole one',
    file: 'daemon/storage/active-segment.ts',
    find: 'if (taken !== bytes.length) lack =',
    replace: 'if (taken > bytes.length) lack =',
  },
  {
    name: 'a snapshot that is of a later moment than its content',
    file: 'daemon/memory.ts',
    find: 'position: this.#journal.position, sections',
    replace:
      'position: await new Promise<typeof this.#journal.position>((take) => setImmediate(() => take(this.#journal.position))), sections',
  },
  {
    name: 'a claim that does not raise the epoch',
    file: 'daemon/missions/ledger.ts',
    find: 'claimDrafts(id, mission.epoch + 1, verdict)',
    replace: 'claimDrafts(id, mission.epoch, verdict)',
  },
  {
    name: 'double claim: a mission is claimed whatever its status',
    file: 'daemon/missions/ledger.ts',
    find: "if (mission.status !== 'queued') return undefined",
    replace: '',
    by: 'conformance',
  },
  {
    name: 'no epoch check',
    file: 'daemon/missions/ledger.ts',
    find: "if (mission.status !== 'running' || mission.epoch !== epoch) {",
    replace: "if (mission.status !== 'running') {",
    by: 'conformance',
  },
  {
    name: 'lost retry: a failed attempt is not queued again',
    file: 'daemon/missions/mission-table.ts',
    find: "released:    { to: 'queued',            act: 'enqueue'",
    replace: "released:    { to: 'queued',            act: 'settle'",
  },
  {
    name: 'a claim that found the disk full is forgotten',
    file: 'daemon/missions/engine.ts',
    find: 'if (running === undefined && isDisk)',
    replace: 'if (running === undefined && isDisk && id.length === 0)',
  },
  {
    name: 'forgotten cancel: lost when the last step completes all the same',
    file: 'daemon/missions/attempt.ts',
    find: "if (halt?.kind === 'cancelled') {",
    replace:
      "if (halt?.kind === 'cancelled' && mission.steps.some(({ status }) => status !== 'completed')) {",
  },
  {
    name: 'approvals expire a millisecond early',
    file: 'daemon/missions/engine.ts',
    find: 'this.#expiries.put(mission.id, this.#ports.settings.approval_days * DAY_MS)',
    replace: 'this.#expiries.put(mission.id, this.#ports.settings.approval_days * DAY_MS - 1)',
  },
  {
    name: 'approvals expire a millisecond late',
    file: 'daemon/missions/engine.ts',
    find: 'this.#expiries.put(mission.id, this.#ports.settings.approval_days * DAY_MS)',
    replace: 'this.#expiries.put(mission.id, this.#ports.settings.approval_days * DAY_MS + 1)',
  },
  {
    name: 'approvals expire by the wall clock',
    file: 'daemon/missions/engine.ts',
    find: 'this.#expiries = new Agenda(ports.clock, ',
    replace:
      'const wall = { now: () => ports.clock.now(), elapsed: () => ports.clock.now(), ' +
      'after: (ms: number, ring: () => void) => ports.clock.after(ms, ring) }\n' +
      '    this.#expiries = new Agenda(wall, ',
  },
  {
    name: 'an idempotency key that is not in the record, only in memory',
    file: 'daemon/missions/admit.ts',
    find: 'return { order: { ...(await this.#judged(authority, body)), idempotency, ...retry } }',
    replace:
      'const order = { ...(await this.#judged(authority, body)), ...retry }\n' +
      "      return { order: Object.defineProperty(order, 'idempotency', { value: idempotency }) as never }",
  },
  {
    name: 'who comes with a key is answered before the mission is durable',
    file: 'daemon/missions/admit.ts',
    find: 'const missions = await this.#record([...drafts.values()])',
    replace:
      'const writing = this.#record([...drafts.values()])\n' +
      '    writing.catch(() => {})\n' +
      "    const { fold } = await import('./fold.ts')\n" +
      '    const early = [...drafts.values()].map((one) =>\n' +
      '      fold(undefined, { ...one, seq: 1, ts: new Date(0).toISOString() } as never) as Mission)\n' +
      '    const missions = wanted.some(({ key }) => key !== undefined) ? early : await writing',
  },
  {
    name: 'two decide about one mission at the same time',
    file: 'daemon/kit/keyed.ts',
    find: 'const turn = line.last.then(work)',
    replace: 'const turn = work()',
  },
  {
    name: 'a recovery calls a step again that may have done its work',
    file: 'daemon/missions/attempt.ts',
    find: 'unfinishedSteps(mission).filter(({ idempotent }) => !idempotent)',
    replace: 'unfinishedSteps(mission).filter(() => false)',
  },
  {
    name: 'a step is called before its start is durable',
    file: 'daemon/missions/step.ts',
    find: 'if (tries === 0 || !idempotent) await isDurable',
    replace: 'isDurable.catch(() => {})',
  },
  {
    name: 'one try too many',
    file: 'daemon/missions/attempt.ts',
    find: 'if (!retry || tries >= triesMax)',
    replace: 'if (!retry || tries > triesMax)',
  },
  {
    name: 'one try too few',
    file: 'daemon/missions/attempt.ts',
    find: 'if (!retry || tries >= triesMax)',
    replace: 'if (!retry || tries + 1 >= triesMax)',
  },
  {
    name: 'waiting uses up the time of a mission',
    file: 'daemon/missions/attempt.ts',
    find: 'new WorkTime(ports.clock, claimed.spentMs, maxMs',
    replace:
      'new WorkTime(ports.clock, claimed.spentMs + ports.clock.now() - Date.parse(claimed.createdAt), maxMs',
  },
  {
    name: 'nobody looks at the time',
    file: 'daemon/missions/work-time.ts',
    find: 'this.#timer = this.#clock.after(Math.max(0, this.leftMs), this.#up)',
    replace: '',
  },
  {
    name: 'what nobody approved is let run',
    file: 'daemon/missions/mission-table.ts',
    find: "BORDERLINE: { to: 'awaiting_approval', act: 'ask' }",
    replace: "BORDERLINE: { to: 'queued', act: 'enqueue' }",
  },
]
