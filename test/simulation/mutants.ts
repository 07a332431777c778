import { registerHooks } from 'node:module'

/** What is replaced in a file of the daemon. `find` must stand there exactly once. */
export interface Patch {
  readonly name: string
  readonly file: string
  readonly find: string
  readonly replace: string
}

/** A planted bug. */
export interface Mutant extends Patch {
  /** What has to be taken away as well before the bug can do any harm: another check would catch it. */
  readonly also?: readonly Omit<Patch, 'name'>[]
  /** The embedded engine does not come to it by itself; the conformance suite does it on purpose. */
  readonly by?: 'conformance'
}

/** Loads the daemon with these patches; to be called before anything of the daemon is imported. */
export function plant(patches: readonly Patch[]): void {
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context)
      const here = patches.filter(({ file }) => new URL(`../../${file}`, import.meta.url).href === url)
      if (here.length === 0) return loaded
      // Beside other hooks it may come as bytes.
      let source = new TextDecoder().decode(bytesOf(loaded.source))
      for (const { name, file, find, replace } of here) {
        if (source.split(find).length !== 2) throw new Error(`the place of '${name}' is not in ${file} once`)
        source = source.replace(find, () => replace)
      }
      return { ...loaded, source }
    },
  })
}

function bytesOf(source: string | ArrayBufferLike | NodeJS.ArrayBufferView | undefined | null): Uint8Array {
  if (typeof source === 'string') return Buffer.from(source)
  if (source === undefined || source === null) return new Uint8Array()
  return ArrayBuffer.isView(source)
    ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    : new Uint8Array(source)
}

/** A planted bug as all that is replaced for it. */
export function patchesOf({ also = [], ...patch }: Mutant): readonly Patch[] {
  return [patch, ...also.map((more) => ({ name: patch.name, ...more }))]
}

/** Those about who runs when have a test file of their own: all of the missions' would take too long in one. */
export function isOfQueue({ file }: Mutant): boolean {
  return /missions\/(engine|lanes|ledger|shelf)\.ts$/.test(file)
}

/** Sizes that a schedule of eighty steps would never reach. */
export const SMALL: readonly Patch[] = [
  {
    name: 'few rows in a chunk',
    file: 'daemon/missions/chunk.ts',
    find: 'export const CHUNK_ROWS = 16_384',
    replace: 'export const CHUNK_ROWS = 4',
  },
  {
    name: 'few missions at rest in memory',
    file: 'daemon/missions/shelf.ts',
    find: 'const RECENT_MAX = 512',
    replace: 'const RECENT_MAX = 1',
  },
]

/** What the table says of a move that it does not list. */
const NO_TABLE = {
  file: 'daemon/missions/ledger.ts',
  find: 'if (move === undefined) throw wrongState(mission, wanted)',
  replace:
    "if (move === undefined && event === 'claimed') return { to: 'running', act: 'execute' } as never\n" +
    '  if (move === undefined) throw wrongState(mission, wanted)',
}
const NO_STATUS_CHECK = {
  file: 'daemon/missions/ledger.ts',
  find: "if (mission.status !== 'queued') return undefined",
  replace: '',
}
const NO_EPOCH_CHECK = {
  file: 'daemon/missions/ledger.ts',
  find: "if (mission.status !== 'running' || mission.epoch !== epoch) {",
  replace: "if (mission.status !== 'running') {",
}
/** What comes after an attempt wants to end it once more, and not only to be counted; the ledger has to refuse it. */
const LATE_ANSWERS_ARE_WRITTEN = {
  file: 'daemon/missions/attempt.ts',
  find: 'const refuseLate = (): void => ledger.refuseStale(missionId, epoch)',
  replace:
    "const over = { outcome: 'cut', duration_ms: 0, retry_in_ms: 0 } as const\n" +
    "  const late = decided('mission.attempt_ended', DAEMON, over)\n" +
    '  let isOver = false\n' +
    '  void running.ended.then(() => { isOver = true })\n' +
    '  const refuseLate = (): void => isOver\n' +
    '    ? void ledger.write(missionId, epoch, [late]).catch(() => {})\n' +
    '    : ledger.refuseStale(missionId, epoch)',
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
    find: 'await saveSnapshot(disk, clock, paths, { position, anchors',
    replace: 'await saveSnapshot(disk, clock, paths, { position: this.#folded, anchors',
  },
  {
    name: 'a claim that does not raise the epoch',
    file: 'daemon/missions/ledger.ts',
    find: 'claimDrafts(id, mission.epoch + 1, verdict)',
    replace: 'claimDrafts(id, mission.epoch, verdict)',
  },
  {
    name: 'double claim: a mission is claimed whatever its status',
    ...NO_STATUS_CHECK,
    by: 'conformance',
  },
  {
    name: 'double claim: a mission is claimed whatever its status, and nobody asks the table',
    ...NO_STATUS_CHECK,
    also: [NO_TABLE],
  },
  {
    name: 'double claim: what began with its creation is offered too, whatever its status, without the table',
    file: 'daemon/missions/ledger.ts',
    find: 'if (place === undefined) this.#act(BIRTH[mission.decision].act, mission)\n      else',
    replace: 'this.#act(BIRTH[mission.decision].act, mission)\n      if (place !== undefined)',
    also: [NO_STATUS_CHECK, NO_TABLE],
  },
  { name: 'no epoch check', ...NO_EPOCH_CHECK, by: 'conformance' },
  {
    name: 'no epoch check, and late answers are written down and not only counted',
    ...NO_EPOCH_CHECK,
    also: [LATE_ANSWERS_ARE_WRITTEN],
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
    find: 'this.#starts.put(id, CLAIM_AGAIN_MS)',
    replace: '',
  },
  {
    name: 'what is at rest is not read back before it is claimed',
    file: 'daemon/missions/engine.ts',
    find: 'this.#shelf.get(id) ?? (await this.#ledger.find(id))',
    replace: 'this.#ledger.get(id)',
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
    find: 'else await new Promise<void>((resolve) => line.push(resolve))',
    replace: '',
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
  {
    name: 'a mission starts before its time when the daemon was started anew',
    file: 'daemon/missions/engine.ts',
    find: 'const waitMs = Math.max(this.#notBeforeMs(mission), retryMs)',
    replace: 'const waitMs = Math.max(isRecovered ? 0 : this.#notBeforeMs(mission), retryMs)',
  },
  {
    name: 'a retry that waits starts at once when the daemon was started anew',
    file: 'daemon/missions/engine.ts',
    find: 'const retryMs = Math.min(mission.retryInMs, mission.retryInMs - sinceMs)',
    replace: 'const retryMs = isRecovered ? 0 : Math.min(mission.retryInMs, mission.retryInMs - sinceMs)',
  },
  {
    name: 'missions start by the wall clock',
    file: 'daemon/missions/engine.ts',
    find: 'this.#starts = new Agenda(ports.clock, ',
    replace:
      'const wallClock = { now: () => ports.clock.now(), elapsed: () => ports.clock.now(), ' +
      'after: (ms: number, ring: () => void) => ports.clock.after(ms, ring) }\n' +
      '    this.#starts = new Agenda(wallClock, ',
  },
  {
    name: 'the lowest priority goes first',
    file: 'daemon/missions/lanes.ts',
    find: 'return priority * AGE_MS - sinceMs',
    replace: 'return -priority * AGE_MS - sinceMs',
  },
  {
    name: 'first come, first served, whatever the priority',
    file: 'daemon/missions/lanes.ts',
    find: 'return priority * AGE_MS - sinceMs',
    replace: 'return -sinceMs',
  },
  {
    name: 'a step is tried once too often',
    file: 'daemon/missions/step.ts',
    find: 'tries >= (step.retries ?? 0)',
    replace: 'tries > (step.retries ?? 0)',
  },
  {
    name: 'a step is tried once too seldom',
    file: 'daemon/missions/step.ts',
    find: 'tries >= (step.retries ?? 0)',
    replace: 'tries + 1 >= (step.retries ?? 0)',
  },
  {
    name: 'of a diamond the last step begins when one side is done',
    file: 'daemon/missions/plan-order.ts',
    find: 'if (!(needs.get(step.id) ?? []).every((need) => standing.isDone(need))) continue',
    replace:
      'const wanted = needs.get(step.id) ?? []\n' +
      '    if (wanted.length > 0 && !wanted.some((need) => standing.isDone(need))) continue',
  },
  {
    name: 'a step that may have done its work is stopped because one beside it failed',
    file: 'daemon/missions/course.ts',
    find: 'if (this.#plan.length === 1 || !isIdempotent) return running.signal',
    replace: 'if (this.#plan.length === 1) return running.signal',
  },
  {
    name: 'each mission of a batch is answered with the first',
    file: 'daemon/missions/ledger.ts',
    find: "const mission = known('', fold(undefined, facts[at] as Fact))",
    replace: "const mission = known('', fold(undefined, facts[0] as Fact))",
  },
  {
    name: 'what was interrupted and is cancelled goes on',
    file: 'daemon/missions/mission-table.ts',
    find: "{ to: 'cancelled',         act: 'settle',  by: ['principal'] } },\n  completed: {},",
    replace: "{ to: 'queued', act: 'enqueue', by: ['principal'] } },\n  completed: {},",
  },
  {
    name: 'a large output is named before it is durable',
    file: 'daemon/missions/step-output.ts',
    find: 'const { sha256, bytes } = await blobs.put(Buffer.from(text))',
    replace:
      'void blobs.put(Buffer.from(text)).catch(() => {})\n' +
      "  const { hash } = await import('node:crypto')\n" +
      "  const { sha256, bytes } = { sha256: hash('sha256', text), bytes: Buffer.byteLength(text) }",
  },
  {
    name: 'a mission that waits is let go of',
    file: 'daemon/missions/shelf.ts',
    find: 'return AT_REST.has(status)',
    replace: 'return true',
  },
  {
    name: 'a file is let go of that another mission names as well',
    file: 'daemon/missions/history.ts',
    find: 'if (artifacts.size > 0) await this.#keepReferred(artifacts, signal)',
    replace: '',
  },
  {
    name: 'a compaction takes what no snapshot has',
    file: 'daemon/storage/compaction.ts',
    find: 'const isNeeded = last > neededFrom',
    replace: 'const isNeeded = false',
    also: [
      {
        file: 'daemon/record-upkeep.ts',
        find: '  await snapshot(stores)\n  await snapshot(stores)\n  const segments',
        replace: '  const segments',
      },
    ],
  },
  {
    name: 'a body that JSON changes',
    file: 'daemon/missions/step-output.ts',
    find: 'cpu_ms: Math.round(answer.cpuMs),',
    replace: 'cpu_ms: Math.round(answer.cpuMs),\n    ...{ waited_ms: undefined },',
  },
  {
    name: 'a body that somebody changes after it was recorded',
    file: 'daemon/missions/ledger.ts',
    find: 'for (const { act } of moves) this.#act(act, changed)',
    replace:
      "for (const fact of facts) if (fact.type === 'mission.ended') fact.d['steps'] = 0\n" +
      '    for (const { act } of moves) this.#act(act, changed)',
  },
]
