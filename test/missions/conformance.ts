import type { TAP, Test } from 'tap'
import type { FactDraft } from '../../daemon/contracts/fact.ts'
import { NexusError } from '../../daemon/contracts/failure.ts'
import { DAEMON, draft, type MissionOrder } from '../../daemon/missions/facts.ts'
import { decided } from '../../daemon/missions/ledger.ts'
import type { Mission } from '../../daemon/missions/mission.ts'
import { endedBody } from '../../daemon/missions/outcome.ts'
import type { ClaimVerdict, Decided, MissionQueue, MissionStore } from '../../daemon/missions/port.ts'

export type Engine = MissionStore & MissionQueue

/** An engine and the ground it stands on. */
export interface Ground {
  /** The engine as it stands now; another one after each crash. */
  readonly engine: Engine
  /** The process dies: its engine answers nothing more, and a new one opens on what is durable. */
  crash(): Promise<void>
  /** Dies in its own way after so many of its own steps from now (writes, syncs, statements); 0 is the next one. */
  dieAfter(steps: number): void
  /** Whether it has. */
  readonly isDead: boolean
  /** The wall clock alone. */
  jump(byMs: number): void
  /** Resolves when all that was asked for is done, or nothing more can be. */
  rest(): Promise<void>
}

/** What every engine of missions has to promise, whatever it is made of. */
export function conformance(t: TAP, makeGround: () => Promise<Ground>): void {
  const test = (name: string, body: (t: Test, ground: Ground) => Promise<void>): void => {
    void t.test(name, async (t) => body(t, await makeGround()))
  }

  test('a zombie cannot finish: a write with an older epoch is refused and counted', async (t, ground) => {
    const { engine } = ground
    const { id } = await made(engine, 1)
    const first = await engine.claim(id, yes)
    await engine.write(id, 1, [cut])
    const second = await engine.claim(id, yes)
    const refused = engine.staleRefused
    const late = await nameOf(engine.write(id, 1, [ended(first)]))

    t.strictSame([first?.epoch, second?.epoch, late], [1, 2, 'StaleAttempt'])
    t.equal(engine.staleRefused, refused + 1)
    t.equal((await engine.find(id))?.status, 'running', 'nothing was written')
    await engine.write(id, 2, [ended(second)])
    t.equal(await nameOf(engine.write(id, 2, [ended(second)])), 'StaleAttempt', 'it ends once')
    t.equal((await engine.find(id))?.status, 'completed')
  })

  test('of two claims one wins, one after the other and at the same time', async (t, ground) => {
    const { engine } = ground
    const { id } = await made(engine, 1)
    const both = await Promise.all([engine.claim(id, yes), engine.claim(id, yes), engine.claim(id, yes)])
    const later = await engine.claim(id, yes)

    t.strictSame([...both, later].map((mission) => mission?.epoch).filter(Boolean), [1])
    t.equal((await engine.find(id))?.epoch, 1)
  })

  test('what was cancelled is not claimed, not even when both were asked at once', async (t, ground) => {
    const { engine } = ground
    const [one, other] = [await made(engine, 1), await made(engine, 2)]
    await engine.change(one.id, 'cancelled', () => cancelled)
    t.equal(await engine.claim(one.id, yes), undefined)
    const [, claim] = await Promise.all([
      engine.change(other.id, 'cancelled', () => cancelled),
      engine.claim(other.id, yes),
    ])
    t.equal(claim, undefined)
    const both = await Promise.all([one, other].map(({ id }) => engine.find(id)))
    t.strictSame(
      both.map((mission) => [mission?.status, mission?.epoch]),
      [
        ['cancelled', 0],
        ['cancelled', 0],
      ],
    )
  })

  test('of two decisions the first wins, and the second is told what became of the mission', async (t, ground) => {
    const { engine } = ground
    const { id } = await made(engine, 1, 'BORDERLINE')
    const seen: string[] = []
    const decide = (fact: Decided) => (mission: Mission) => {
      seen.push(mission.status)
      return fact
    }
    const ends = await Promise.all([
      nameOf(engine.change(id, 'approved', decide(approved))),
      nameOf(engine.change(id, 'rejected', decide(rejected))),
      nameOf(engine.change(id, 'approved', decide(approved))),
    ])

    t.strictSame(ends, ['none', 'MISSION_WRONG_STATE', 'MISSION_WRONG_STATE'])
    t.strictSame(seen, ['awaiting_approval', 'queued', 'queued'], 'each one saw what the one before had done')
    t.equal((await engine.find(id))?.status, 'queued')
  })

  test('a claim may have something else done instead, and what decides nothing changes nothing', async (t, ground) => {
    const { engine } = ground
    const { id } = await made(engine, 1)
    const refused = await engine.claim(id, () => ({ claim: false, instead: rejudged }))
    const same = await engine.change(id, 'looked at', () => undefined)
    const thrown = await nameOf(
      engine.change(id, 'anything', () => {
        throw new NexusError('APPROVAL_REQUIRED', { mission: id })
      }),
    )
    t.strictSame([refused, same.status, thrown], [undefined, 'awaiting_approval', 'APPROVAL_REQUIRED'])
    t.equal(await nameOf(engine.change('m-nobody', 'anything', () => cancelled)), 'MISSION_UNKNOWN')
    t.equal(await engine.find('m-nobody'), undefined)
  })

  test('one key makes one mission: later, at once, and across a crash', async (t, ground) => {
    const body = (n: number, sha: string): FactDraft => order(n, 'SAFE', { key: 'k', sha })
    const [first] = await ground.engine.create([body(1, 'a')])
    const [again] = await ground.engine.create([body(2, 'a')])
    const [other] = await ground.engine.create([body(3, 'b')])
    await ground.crash()
    const { engine } = ground
    const [after] = await engine.create([body(4, 'a')])
    const keyed = (n: number): FactDraft => order(n, 'SAFE', { key: 'race', sha: 'a' })
    const race = await Promise.all([
      engine.create([keyed(5)]),
      engine.create([keyed(6)]),
      engine.create([keyed(7)]),
    ])

    t.strictSame([again?.id, other?.id, after?.id], [first?.id, first?.id, first?.id])
    t.equal(other?.order.idempotency?.body_sha256, 'a', 'whoever sent another body can tell')
    t.equal(new Set(race.flat().map(({ id }) => id)).size, 1)
    t.equal((await engine.byIdempotencyKey(PRINCIPAL, 'race'))?.id, race[0]?.[0]?.id)
    t.equal(
      (await engine.byIdempotencyKey('somebody else', 'k'))?.id,
      undefined,
      'keys belong to a principal',
    )
    t.equal((await engine.list({})).missions.length, 2)
  })

  test('clocks that jump, forward and back, change neither order nor epochs', async (t, ground) => {
    const { engine } = ground
    const { id } = await made(engine, 1)
    for (const byMs of [3_600_000, -86_400_000, 365 * 86_400_000]) {
      const claim = await engine.claim(id, yes)
      ground.jump(byMs)
      await engine.write(id, claim?.epoch ?? 0, [cut])
    }
    await made(engine, 2)
    t.equal((await engine.find(id))?.epoch, 3)
    t.strictSame(await idsOf(engine), [idOf(2), idOf(1)])
    await ground.crash()
    t.equal((await ground.engine.claim(id, yes))?.epoch, 4, 'also after a crash')
    t.strictSame(await idsOf(ground.engine), [idOf(2), idOf(1)])
  })

  test('a batch that was acknowledged is there as a whole', async (t, ground) => {
    const batch = Array.from({ length: 40 }, (_, n) => order(n, 'SAFE'))
    for (let steps = 0, isOver = false; !isOver; steps += 1) {
      const fresh = await makeGround()
      let acknowledged = 0
      fresh.dieAfter(steps)
      fresh.engine.create(batch).then(
        (missions) => {
          acknowledged = missions.length
        },
        () => {},
      )
      await fresh.rest()
      isOver = !fresh.isDead
      await fresh.crash()
      const there = await idsOf(fresh.engine)
      if (acknowledged > 0 && there.length !== 40) t.equal(there.length, 40, `died after ${steps} steps`)
      if (isOver) t.equal(acknowledged, 40, 'at last it had no reason to die')
    }
    await ground.crash()
  })

  test('whenever it dies, what was acknowledged stands, and the next life goes on from there', async (t) => {
    let deaths = 0
    for (let steps = 0, isOver = false; !isOver; steps += 1) {
      const ground = await makeGround()
      const acknowledged: string[] = []
      ground.dieAfter(steps)
      carryOn(ground.engine, (status) => acknowledged.push(status)).catch(() => {})
      await ground.rest()
      isOver = !ground.isDead
      if (ground.isDead) deaths += 1
      await ground.crash()
      const found = await ground.engine.find(idOf(1))
      const at = STORY.indexOf(storyOf(found))
      const last = acknowledged.length === 0 ? -1 : STORY.indexOf(acknowledged.at(-1) ?? '')
      // One change more may have come through, whose answer nobody heard.
      const isKept = at >= last && at <= last + 1
      if (!isKept) t.equal(storyOf(found), acknowledged.at(-1), `died after ${steps} steps`)
      await carryOn(ground.engine, () => {})
      const end = await ground.engine.find(idOf(1))
      if (end?.status !== 'completed') t.equal(end?.status, 'completed', `died after ${steps} steps`)
    }
    t.ok(deaths >= STORY.length, `died at ${deaths} places`)
  })

  test('a list shows each mission once, newest first, while others are written', async (t, ground) => {
    const { engine } = ground
    for (let n = 0; n < 25; n += 1) await made(engine, 2 * n)
    const seen: string[] = []
    let after: string | undefined
    for (let page = 0; ; page += 1) {
      const { missions, next } = await engine.list({ limit: 4, ...(after === undefined ? {} : { after }) })
      seen.push(...missions.map(({ mission_id }) => mission_id))
      if (next === null) break
      after = next
      // One that is new, and one that goes to its end.
      await made(engine, 100 + page)
      const claim = await engine.claim(idOf(2 * page), yes)
      await engine.write(idOf(2 * page), claim?.epoch ?? 0, [ended(claim)])
    }
    const wanted = Array.from({ length: 25 }, (_, n) => idOf(2 * (24 - n)))
    t.strictSame(seen, wanted)
    const completed = await engine.list({ status: 'completed', limit: 500 })
    const queued = await engine.list({ status: 'queued', limit: 500 })
    const all = await engine.list({ limit: 500 })
    t.strictSame([completed.missions.length, queued.missions.length, all.missions.length], [6, 25, 31])
  })
}

const PRINCIPAL = 'token:anna'
const ANNA = { kind: 'token', name: 'anna' } as const
const BY = { by: 'anna' } as const
const KEY = { kind: 'key', name: 'k1' } as const

const yes = (): ClaimVerdict => ({ claim: true, queueWaitMs: 0, starts: [] })
const cancelled = decided('mission.cancelled', ANNA, BY)
const approved = decided('mission.approved', KEY, { by: 'operator', digest: 'd' })
const rejected = decided('mission.rejected', KEY, { by: 'operator' })
const cut = decided('mission.attempt_ended', DAEMON, { outcome: 'cut', duration_ms: 1, retry_in_ms: 0 })
const rejudged = decided('mission.rejudged', DAEMON, { validation: validation('BORDERLINE') })

function ended(mission: Mission | undefined): Decided {
  if (mission === undefined) throw new Error('only what was claimed can end')
  return decided('mission.ended', DAEMON, endedBody(mission, 1))
}

function validation(decision: MissionOrder['validation']['decision']): MissionOrder['validation'] {
  const common = { axes: {}, gates: [], reasons: [], counterfactual: null, predicted: 0.8, scorer_version: 1 }
  return { decision, score: decision === 'SAFE' ? 74 : 48, ...common }
}

/** Rising with `n`. */
function idOf(n: number): string {
  return `m-01m81b5h80${String(n).padStart(16, '0')}`
}

function order(
  n: number,
  decision: MissionOrder['validation']['decision'],
  keyed?: { readonly key: string; readonly sha: string },
): FactDraft {
  return draft('mission.created', idOf(n), ANNA, {
    goal: `goal ${n}`,
    category: 'coin',
    constraints: { max_time_seconds: 5, max_steps: 3 },
    plan: [{ id: 'only', uses: 'sim/module/once' }],
    plan_source: 'given',
    priority: 0,
    max_attempts: 3,
    principal: 'anna',
    ...(keyed && { idempotency: { key: keyed.key, principal: PRINCIPAL, body_sha256: keyed.sha } }),
    validation: validation(decision),
    fingerprint: 'goal',
    tokens: ['goal'],
    plan_shape: 'sim/module/once',
  })
}

async function made(engine: Engine, n: number, decision: 'SAFE' | 'BORDERLINE' = 'SAFE'): Promise<Mission> {
  const [mission] = await engine.create([order(n, decision)])
  if (mission === undefined) throw new Error('one draft makes one mission')
  return mission
}

/** What becomes of one mission, change by change. */
const STORY = ['none', 'awaiting_approval 0', 'queued 0', 'running 1', 'queued 1', 'running 2', 'completed 2']

function storyOf(mission: Mission | undefined): string {
  return mission === undefined ? 'none' : `${mission.status} ${mission.epoch}`
}

/** Takes mission 1 to its end from wherever it stands, and tells of each change once it is acknowledged. */
async function carryOn(engine: Engine, tell: (status: string) => void): Promise<void> {
  const id = idOf(1)
  let mission = (await engine.find(id)) ?? (await made(engine, 1, 'BORDERLINE'))
  tell(storyOf(mission))
  while (mission.status !== 'completed') {
    const { status, epoch } = mission
    if (status === 'awaiting_approval') mission = await engine.change(id, 'approved', () => approved)
    else if (status === 'queued') mission = (await engine.claim(id, yes)) ?? mission
    else mission = await engine.write(id, epoch, [epoch === 1 ? cut : ended(mission)])
    tell(storyOf(mission))
  }
}

async function idsOf(engine: Engine): Promise<string[]> {
  return (await engine.list({ limit: 500 })).missions.map(({ mission_id }) => mission_id)
}

/** What a promise was refused with, by its name; `none` when it was not. */
async function nameOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'none'
  } catch (error) {
    if (error instanceof NexusError) return error.code
    return error instanceof Error ? error.name : String(error)
  }
}
