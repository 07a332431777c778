import fc from 'fast-check'
import t from 'tap'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { CATEGORIES, DECISIONS, type MissionId } from '../../daemon/contracts/ids.ts'
import { MISSION_STATUSES } from '../../daemon/contracts/mission.ts'
import { CHUNK_ROWS, Chunk } from '../../daemon/missions/chunk.ts'
import { type MissionRecord, missionOf, recordOf } from '../../daemon/missions/record.ts'
import { type Row, Rows, rowFilter } from '../../daemon/missions/rows.ts'
import { Shelf } from '../../daemon/missions/shelf.ts'
import { MemoryRecords } from '../support/memory-records.ts'
import { settle } from '../support/test-clock.ts'
import { anna, BORDERLINE, body, FAILING, operator, World } from './world.ts'

function idOf(n: number): MissionId {
  return `m-01${n.toString(36).padStart(24, '0')}`
}

function rowOf(n: number, more: Partial<Row> = {}): Row {
  const place = { file: 1 + (n % 5), offset: n, length: 10 + (n % 7), crc: (n * 2_654_435_761) >>> 0 }
  return {
    id: idOf(n),
    status: MISSION_STATUSES[n % 10] ?? 'completed',
    category: CATEGORIES[n % 4] ?? 'coin',
    decision: DECISIONS[n % 3] ?? 'SAFE',
    updatedMs: 1_700_000_000_000 + n,
    seq: n * 3,
    modules: n % 11,
    key: n % 2 === 0 ? [n >>> 0, 7] : [0, 0],
    hasArtifacts: n % 6 === 0,
    place: n % 13 === 0 ? undefined : place,
    ...more,
  }
}

const number = fc.nat(60)
const change = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('put' as const), n: number, as: fc.nat(500) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('freeze' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('thaw' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('remove' as const),
      after: number,
      through: number,
      odd: fc.boolean(),
    }),
  },
)

function sorted(model: ReadonlyMap<MissionId, Row>): Row[] {
  return [...model.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
}

function thawed(rows: Rows): Rows {
  const chunks = rows
    .freeze()
    .map((chunk) => Chunk.read(Buffer.concat(chunk.bytes()), { name: 'x', sha256: '' }))
  const again = new Rows()
  again.thaw(chunks.filter((chunk) => chunk !== undefined))
  return again
}

t.test(
  'rows are what a plain map of objects is, whatever is put, frozen, read back and removed',
  async (t) => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 80 }), (changes) => {
        let rows = new Rows()
        const model = new Map<MissionId, Row>()
        const frozen: [readonly Chunk[], Row[]][] = []
        for (const step of changes) {
          if (step.do === 'put') {
            const row = { ...rowOf(step.as), id: idOf(step.n) }
            rows.put(row)
            model.set(row.id, row)
          } else if (step.do === 'freeze') frozen.push([rows.freeze(), sorted(model)])
          else if (step.do === 'thaw') rows = thawed(rows)
          else {
            const goes = (row: Row): boolean => row.seq % 2 === (step.odd ? 1 : 0)
            const [after, through] = [idOf(step.after), idOf(step.through)]
            const wanted = sorted(model).filter((row) => row.id > after && row.id <= through && goes(row))
            const gone = rows.remove(after, through, goes)
            if (JSON.stringify(gone) !== JSON.stringify(wanted.map(({ id }) => id))) return false
            for (const { id } of wanted) model.delete(id)
          }
        }
        const all = sorted(model)
        const old = frozen.every(([chunks, then]) => {
          const again = new Rows()
          again.thaw(chunks)
          return JSON.stringify(again.page(undefined, 1_000)) === JSON.stringify(then)
        })
        const found = all.every((row) => JSON.stringify(rows.get(row.id)) === JSON.stringify(row))
        const keys = all.every(({ key: [low, high] }) => {
          const same = all.filter(({ key }) => key[0] === low && key[1] === high).map((row) => row.id)
          return (
            low + high === 0 || JSON.stringify(rows.byKey(low, high).sort()) === JSON.stringify(same.sort())
          )
        })
        return old && found && keys && JSON.stringify(rows.page(undefined, 1_000)) === JSON.stringify(all)
      }),
      { seed: 4, numRuns: 400 },
    )
    t.pass('400 lives of rows')
  },
)

t.test(
  '200,000 rows: every filter gives what a filter of objects gives, page after page, newest first',
  async (t) => {
    const rows = new Rows()
    const all: Row[] = []
    for (let n = 0; n < 200_000; n += 1) {
      const row = rowOf(n, { status: MISSION_STATUSES[(n * 7) % 10] ?? 'completed', modules: (n * 31) % 11 })
      rows.put(row)
      all.push(row)
    }
    all.reverse()
    const sets = Uint8Array.from({ length: 11 }, (_, set) => (set === 3 || set === 8 ? 1 : 0))
    const optional = <T>(values: readonly T[]) => fc.option(fc.constantFrom(...values), { nil: undefined })
    const filters = fc.record({
      status: optional(MISSION_STATUSES),
      category: optional(CATEGORIES),
      decision: optional(DECISIONS),
      module: fc.boolean(),
      limit: fc.integer({ min: 1, max: 500 }),
      from: fc.nat(200_000),
    })

    fc.assert(
      fc.property(filters, ({ status, category, decision, module, limit, from }) => {
        const given = {
          ...(status && { status }),
          ...(category && { category }),
          ...(decision && { decision }),
        }
        const fits = rowFilter(given, module ? sets : undefined)
        const wanted = all
          .filter((row) => row.id < idOf(from))
          .filter(
            (row) => (status ?? row.status) === row.status && (category ?? row.category) === row.category,
          )
          .filter(
            (row) => (decision ?? row.decision) === row.decision && (!module || sets[row.modules] === 1),
          )
        const ids = wanted.slice(0, 2 * limit).map(({ id }) => id)
        const first = rows.list(fits, idOf(from), limit)
        const second = rows.list(fits, first.at(-1) ?? idOf(0), limit)
        const count = all.filter((row) => (status ?? row.status) === row.status).length
        return (
          JSON.stringify([...first, ...second]) === JSON.stringify(ids) &&
          (status === undefined || rows.count({ status }) === count)
        )
      }),
      { seed: 8, numRuns: 25 },
    )
    t.equal(rows.size, 200_000)
    t.equal(rows.newest, idOf(199_999))
  },
)

t.test('ids that come out of order fill and split chunks, and stay in order', async (t) => {
  const rows = new Rows()
  const count = CHUNK_ROWS * 2 + 100
  // A step that meets every number once, far from the one before.
  for (let n = 0; n < count; n += 1) rows.put(rowOf((n * 7_919) % count))
  const ids = rows.page(undefined, count + 1).map(({ id }) => id)
  t.equal(ids.length, count)
  t.ok(ids.every((id, place) => id === idOf(place)))
  t.strictSame(rows.get('m-nonsense'), undefined)
  t.equal(rows.get(idOf(35))?.id, idOf(35))
  t.strictSame(rows.get(`m-${idOf(35).slice(2).toUpperCase()}`), undefined, 'another spelling is another id')
  t.strictSame(rows.get(idOf(count)), undefined)
})

t.test('a record holds a mission whole: read back, it is the same in every state that rests', async (t) => {
  const world = new World()
  const no = new NexusError('ACTION_FAILED', { module: 'cortex/echo', action: 'fail', reason: 'no' })
  world.action('cortex/echo/fail', () => Promise.reject(no), { idempotent: true })
  const missions = await world.start()
  const plan = [{ id: 'one', uses: 'cortex/echo/fail' }]
  const ids: string[] = []
  const make = async (more: Parameters<typeof body>[0], key?: string): Promise<string> => {
    const { mission } = await missions.create(anna, body(more), key)
    ids.push(mission.mission_id)
    return mission.mission_id
  }
  await make({}, 'first')
  await make({ plan, max_attempts: 2, expected_value: 5, not_before: '2020-01-01T00:00:00Z' })
  await world.clock.pass(3_600_000)
  world.verdict = () => BORDERLINE
  await missions.reject(operator, { mission_id: await make({}), reason: 'no' })
  await missions.approve(operator, { mission_id: await make({}), reason: 'yes' })
  await make({})
  world.verdict = () => FAILING
  await make({ input: null, plan: [{ id: 'one', uses: 'cortex/echo/say' }] })
  await missions.run(operator, { mission_id: await make({}), override: true, reason: 'must', wait_ms: 0 })
  await missions.cancel(operator, { mission_id: await make({}) })
  await world.clock.pass(30 * 86_400_000)
  await settle()

  const shelf = new Shelf(new MemoryRecords())
  for (const fact of world.journal.facts) {
    shelf.fold(fact)
    await shelf.settled()
  }
  const kinds = new Set<string>()
  for (const id of ids) {
    const mission = shelf.get(id)
    t.ok(mission, id)
    if (mission === undefined) continue
    kinds.add(mission.status)
    const line = JSON.stringify(recordOf(mission, 9))
    t.strictSame(
      missionOf(JSON.parse(line) as MissionRecord),
      JSON.parse(JSON.stringify(mission)),
      mission.status,
    )
  }
  t.strictSame([...kinds].sort(), ['cancelled', 'completed', 'expired', 'failed', 'rejected', 'suggestion'])
})
