import fc from 'fast-check'
import t from 'tap'
import type { Fact, FactDraft } from '../../daemon/contracts/fact.ts'
import { historyRoom } from '../../daemon/history-room.ts'
import { seededChance } from '../../daemon/kit/chance.ts'
import { jsonPieces } from '../../daemon/kit/json-pieces.ts'
import { Memory } from '../../daemon/memory.ts'
import { Missions } from '../../daemon/missions/missions.ts'
import type { Projection } from '../../daemon/restore.ts'
import { dueForCompaction } from '../../daemon/storage/compaction.ts'
import { dataPaths } from '../../daemon/storage/data-folder.ts'
import type { RecordLog } from '../../daemon/storage/record-log.ts'
import { readSnapshot } from '../../daemon/storage/snapshot.ts'
import { verifyJournal } from '../../daemon/storage/verify.ts'
import { World } from '../missions/world.ts'
import { type CrashMode, MemoryDisk } from '../support/memory-disk.ts'
import type { TestClock } from '../support/test-clock.ts'

const DIR = '/data'
const { signal } = new AbortController()
const ACTOR = { kind: 'local', name: 'local' } as const

/** A daemon's memory over a disk that can lose its power, with the missions folded from it. */
interface Mind {
  readonly memory: Memory
  readonly missions: Missions
  readonly warnings: string[]
}

/** Every fact there ever was, by its number: what a daemon that never stopped would have folded. */
type Known = Map<number, Fact>

async function open(
  disk: MemoryDisk,
  clock: TestClock,
  known: Known,
  more: Readonly<Record<string, Projection>> = {},
): Promise<Mind> {
  const warnings: string[] = []
  let records: RecordLog | undefined
  let memory: Memory | undefined
  const missions = new Missions({
    ...new World().ports(),
    clock,
    recorder: {
      append: (draft) => (memory as Memory).append(draft),
      appendAll: (drafts) => (memory as Memory).appendAll(drafts),
    },
    records: {
      append: (line) => (records as RecordLog).append(line),
      read: (places) => (records as RecordLog).read(places),
      trouble: (error) => warnings.push(String(error)),
    },
  })
  memory = await Memory.open({
    disk,
    clock,
    paths: dataPaths(DIR),
    segmentBytesMax: 6_000,
    recordFileBytesMax: 6_000,
    snapshotEvery: 1_000_000,
    snapshotBytes: Number.MAX_SAFE_INTEGER,
    retention: { keepMs: 1_000, keepBytes: Number.MAX_SAFE_INTEGER, archive: true },
    projections: {
      all: { fold: (fact) => void known.set(fact.seq, fact), save: () => ({}), load: () => true },
      ...more,
    },
    history: historyRoom(missions, { keep_days: 30, keep_max: 12 }),
    recordsOpened: (opened) => {
      records = opened
    },
    runes: () => ({}),
    announced: () => undefined,
    batched: () => undefined,
    warn: (message) => warnings.push(message),
    onBug: (error) => {
      throw error
    },
  })
  return { memory, missions, warnings }
}

const MADE = ['SAFE', 'FAILING', 'SAFE', 'BORDERLINE'] as const

function id(n: number): string {
  return `m-01${String(n).padStart(24, '0')}`
}

function about(n: number, type: string, d: object, ep?: number): FactDraft {
  return { type, mid: id(n), ...(ep === undefined ? {} : { ep }), actor: ACTOR, d: { ...d } }
}

function created(n: number): FactDraft {
  const decision = MADE[n % MADE.length]
  const plan = [{ id: 'one', uses: `cortex/echo-${n % 3}/say` }]
  const validation = { decision, score: 50, axes: {}, gates: [], reasons: ['so'], counterfactual: null }
  return about(n, 'mission.created', {
    ...{ goal: `do ${n}`, category: 'coin', constraints: { max_time_seconds: 1, max_steps: 1 }, plan },
    ...{ plan_source: 'given', priority: 0, max_attempts: 1, principal: 'local', fingerprint: 'f' },
    ...{ tokens: ['do'], plan_shape: 's', validation: { ...validation, predicted: 0.5, scorer_version: 1 } },
    idempotency: { key: `k${n}`, principal: 'local:local', body_sha256: 'x' },
  })
}

function ended(n: number): FactDraft[] {
  const outcome = { status: 'completed', success: true, duration_ms: 3, result: { n }, steps: 1 }
  return [
    about(n, 'mission.claimed', { queue_wait_ms: 1 }, 1),
    about(n, 'mission.ended', { ...outcome, category: 'coin', decision: 'SAFE' }, 1),
  ]
}

/** A life in which everything happens that touches the records. */
async function live(mind: Mind, clock: TestClock): Promise<void> {
  const { memory } = mind
  await memory.appendAll([0, 1, 2, 3, 4].map(created))
  await memory.appendAll([...ended(0), ...ended(4)])
  await memory.snapshot()
  clock.jump(40 * 86_400_000)
  await memory.appendAll([5, 6, 7, 8, 9, 10, 11].map(created))
  await memory.appendAll([...ended(2), ...ended(6)])
  await memory.upkeep.rotate()
  // What is at rest is taken up again: its record has to be read.
  await memory.append(about(1, 'mission.overridden', { by: 'local', digest: 'd' }))
  await memory.append(about(5, 'mission.cancelled', { by: 'local', reason: 'no' }))
  await memory.snapshot()
  await memory.appendAll([12, 13, 14, 15, 16, 17].map(created))
  await memory.appendAll(ended(12))
  await memory.upkeep.prune(signal)
  await memory.append(about(9, 'mission.overridden', { by: 'local', digest: 'd' }))
  clock.jump(5_000)
  await memory.upkeep.compact(signal)
  await memory.appendAll([18, 19].map(created))
  await memory.upkeep.prune(signal)
  await memory.upkeep.compact(signal)
  await memory.close()
}

/** The digest of the missions that these facts make, folded from the first to the last without a stop. */
async function wanted(known: Known, head: number): Promise<string> {
  const missions = new Missions(new World().ports())
  for (let seq = 1; seq <= head; seq += 1) {
    const fact = known.get(seq)
    if (fact === undefined) throw new Error(`fact ${seq} was never seen`)
    missions.fold(fact)
    await missions.history.settled()
  }
  return missions.history.digest(signal)
}

async function begin(): Promise<{ disk: MemoryDisk; clock: TestClock; known: Known }> {
  return { disk: MemoryDisk.withFolder(DIR), clock: new World().clock, known: new Map() }
}

t.test('facts that come while a snapshot is made into text are not in it', async (t) => {
  const { disk, clock, known } = await begin()
  const seen: object[] = []
  const room: Projection = {
    fold: ({ seq }) => void seen.push({ seq, words: Array.from({ length: 200 }, (_, n) => `${n}`) }),
    savesCopy: true,
    save: () => ({ seen: [...seen] }),
    load: () => true,
  }
  const { memory } = await open(disk, clock, known, { room })
  await memory.appendAll(Array.from({ length: 200 }, (_, n) => created(n)))
  const position = memory.head
  let turns = 0
  let isDone = false
  const saving = memory.snapshot().finally(() => {
    isDone = true
  })
  while (!isDone) {
    await memory.append(created(1_000 + turns))
    turns += 1
  }
  await saving
  const { snapshot } = await readSnapshot(disk, dataPaths(DIR).systemState, '')
  const section = snapshot?.sections['room'] as { seen: { seq: number }[] }
  t.ok(turns > 3 && memory.head > position, `${turns} facts came meanwhile`)
  t.strictSame(
    [snapshot?.position.seq, section.seen.length, section.seen.at(-1)?.seq],
    [position, position, position],
  )
})

t.test('JSON in pieces is the JSON, and no piece is large', async (t) => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6 }), fc.integer({ min: 1, max: 20 }), (value, piece) => {
      const holed = { a: undefined, b: [value, undefined], c: value, d: {}, e: [] }
      return [value, holed].every((each) => [...jsonPieces(each, piece)].join('') === JSON.stringify(each))
    }),
  )
  const rows = Array.from({ length: 10_000 }, (_, n) => [n, { seen: [n, n] }])
  const lengths = [...jsonPieces({ kinds: [{ rows }], rows }, 100)].map(({ length }) => length)
  t.ok(Math.max(...lengths) < 2_000, `${Math.max(...lengths)} characters`)
})

t.test(
  'a life without a crash: what is compacted and pruned is gone, and the rest is what the facts tell',
  async (t) => {
    const { disk, clock, known } = await begin()
    await live(await open(disk, clock, known), clock)
    const again = await open(disk, clock, known)
    const { head } = again.memory

    t.equal(await again.missions.history.digest(signal), await wanted(known, head))
    t.strictSame(again.warnings, [])
    const { ok, first, last } = await verifyJournal(disk, DIR)
    t.match([ok, first > 1, last], [true, true, head], 'the chain holds from the anchor on')
    t.ok(
      disk.paths().some((path) => path.endsWith('.jsonl.gz')),
      'what went is kept compressed',
    )
    t.match(await again.missions.history.check(signal), { damaged: [] })
    await t.rejects(again.missions.get(id(0)), { code: 'MISSION_UNKNOWN' }, 'the oldest was pruned')
    t.match(await again.missions.get(id(3)), { status: 'awaiting_approval' }, 'what waits is never too old')
    await again.memory.close()
  },
)

t.test(
  'a disk without room refuses the start as such, at whatever it is noticed, and nothing is lost',
  async (t) => {
    const lived = await begin()
    const mind = await open(lived.disk, lived.clock, lived.known)
    await mind.memory.appendAll([0, 1, 2].map(created))
    await mind.memory.appendAll(ended(0))
    await mind.memory.snapshot()
    await mind.memory.appendAll([...ended(2), created(3)])
    lived.disk.remove('/data/artifacts')
    const wish = await wanted(lived.known, mind.memory.head)
    await mind.memory.close()
    const codes = new Map<string, number>()
    for (const [name, { disk, clock }] of Object.entries({ new: await begin(), lived })) {
      const dry = disk.copy()
      await open(dry, clock, new Map())
      for (let step = 1; step <= dry.count; step += 1) {
        for (const error of ['ENOSPC', 'EIO']) {
          const copy = disk.copy()
          copy.fault = ({ n, isChange, op }) =>
            isChange && n >= step && !['unlink', 'rename'].includes(op) ? { error } : undefined
          const code = await open(copy, clock, new Map()).then(
            () => 'opened',
            (failure) => failure.code,
          )
          codes.set(`${name} ${error} ${code}`, (codes.get(`${name} ${error} ${code}`) ?? 0) + 1)
          copy.fault = undefined
          const again = await open(copy, clock, new Map())
          if (name === 'lived') t.equal(await again.missions.history.digest(signal), wish)
        }
      }
    }
    t.strictSame(
      [...codes.keys()].filter(
        (key) => !/ENOSPC (JOURNAL_FULL|JOURNAL_UNAVAILABLE|opened)|EIO (JOURNAL_UNAV|opened)/.test(key),
      ),
      [],
    )
    t.ok((codes.get('new ENOSPC JOURNAL_FULL') ?? 0) > 2 && (codes.get('lived ENOSPC JOURNAL_FULL') ?? 0) > 0)
  },
)

t.test(
  'power cuts at every step of it: what was told is there, and the missions are what the facts tell',
  async (t) => {
    const modes: readonly CrashMode[] = ['nothing', 'everything', 'torn', 'sectors']
    const dry = await begin()
    await live(await open(dry.disk, dry.clock, dry.known), dry.clock)
    const steps = dry.disk.count
    const bad: string[] = []
    for (let step = 1; step <= steps; step += 1) {
      const { disk, clock, known } = await begin()
      const acknowledged = { head: 0 }
      const how = step % 2 === 0 ? 'before' : 'after'
      disk.fault = ({ n, isChange }) => (isChange && n === step ? { crash: how } : undefined)
      const life = (async () => {
        const mind = await open(disk, clock, known)
        await live(mind, clock)
      })()
      await Promise.race([life, disk.halted])
      acknowledged.head = Math.max(0, ...known.keys())
      const mode = modes[step % modes.length] ?? 'nothing'
      const after = disk.afterCrash(mode, seededChance(step))
      try {
        const mind = await open(after, clock, known)
        const { head } = mind.memory
        const same = (await mind.missions.history.digest(signal)) === (await wanted(known, head))
        const { damaged } = await mind.missions.history.check(signal)
        await mind.memory.upkeep.compact(signal)
        await mind.memory.upkeep.prune(signal)
        const sameAfter =
          (await mind.missions.history.digest(signal)) === (await wanted(known, mind.memory.head))
        const { ok } = await verifyJournal(after, DIR)
        await mind.memory.close()
        for (const path of after.paths().filter((name) => /missions(\.|\/\d+\.)jsonl$/.test(name))) {
          // People and tools read these files line by line.
          const lines = after.contents(path).toString().split('\n').slice(0, -1)
          for (const line of lines) JSON.parse(line)
        }
        const found = { same, lost: acknowledged.head > head, damaged, sameAfter, ok }
        const wish = { same: true, lost: false, damaged: [], sameAfter: true, ok: true }
        if (JSON.stringify(found) !== JSON.stringify(wish)) {
          bad.push(`step ${step} ${how} ${mode}: ${JSON.stringify(found)} ${disk.calls.at(-1)}`)
        }
      } catch (error) {
        bad.push(`step ${step} ${how} ${mode}: ${String(error)} ${disk.calls.at(-1)}`)
      }
    }
    t.strictSame(bad, [])
    t.ok(steps > 100, `${steps} steps were cut`)
  },
)

t.test(
  'a segment goes when it is too old or there is too much, and never while a snapshot needs it',
  async (t) => {
    const candidates = [10, 20, 30, 40].map((last, place) => {
      return { first: last - 9, last, sizeBytes: 100, endedMs: 1_000 * (place + 1) }
    })
    const due = (neededFrom: number, keepMs: number, keepBytes: number): number =>
      dueForCompaction(candidates, 50, neededFrom, { keepMs, keepBytes, archive: false }, 5_000)
    const found = [
      due(99, 99_000, 999),
      due(99, 2_500, 999),
      due(99, 99_000, 300),
      due(25, 0, 0),
      due(9, 0, 0),
    ]
    t.strictSame(found, [0, 2, 2, 2, 0])
  },
)

t.test('a snapshot that holds facts of missions still to be read gives them their effect', async (t) => {
  const { disk, clock, known } = await begin()
  let memory: Memory | undefined
  const snapshots: Promise<unknown>[] = []
  // Before the record of the mission has been read, and so before the fact has had its effect.
  const fold = ({ type }: Fact): void => {
    if (type === 'mission.cancelled') queueMicrotask(() => snapshots.push(memory?.snapshot() as never))
  }
  const hasty: Projection = { fold, save: () => ({}), load: () => true }
  const first = await open(disk, clock, known, { hasty })
  memory = first.memory
  // So many at rest that the first of them is on the disk only.
  await memory.appendAll(Array.from({ length: 600 }, (_, n) => created(4 * n + 1)))
  await memory.append(about(1, 'mission.cancelled', { by: 'local' }))
  await Promise.all(snapshots)

  const next = disk.afterKill()
  const { snapshot } = await readSnapshot(next, dataPaths(DIR).systemState, 'system_state.json')
  const section = snapshot?.sections['missions'] as
    | { readonly late: readonly [string, object[]][] }
    | undefined
  const second = await open(next, clock, known)
  t.strictSame([section?.late.map(([mission]) => mission), snapshot?.position.seq], [[id(1)], memory.head])
  t.match(await second.missions.get(id(1)), { status: 'cancelled' })
  t.strictSame(second.warnings, [])
})
