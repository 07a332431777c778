import '../support/clean-children.ts'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { missionsKilled } from './missions-killed.ts'
import { type Effect, judge, type Known } from './missions-killed-oracle.ts'

const WELL = {
  lost: [],
  doubled: [],
  notOneEnd: [],
  otherStatus: [],
  ranTwice: [],
  effectMissing: [],
  effectUnaccounted: [],
  atOnce: [],
  wrongInput: [],
  brokenOff: [],
}

t.test('missions whose instances are killed at random end once, and do nothing twice', async (t) => {
  const say = (line: string): void => t.comment(line)
  const report = await missionsKilled({ missions: 48, seed: 5, daemonKills: 1, say })
  t.comment(report)
  t.strictSame(report.findings, WELL)
  t.match(report.verifier, /^ok: \d+ records/)
  t.equal(report.accepted, 48)
  t.ok(report.instanceKills > 0, `${report.instanceKills} instances were killed`)
})

t.test('the oracle of killed missions notices each of the ways to be wrong', async (t) => {
  t.strictSame(judged(t, {}), WELL, 'and nothing where nothing is wrong')
  const cases: [string, keyof typeof WELL, Spoiled][] = [
    [
      'an accepted mission is gone',
      'lost',
      { journal: (lines) => lines.filter(({ mid }) => mid === undefined) },
    ],
    [
      'one key made two missions',
      'doubled',
      { known: { accepted: new Map([['key', new Set([ID, 'm-other'])]]) } },
    ],
    [
      'a mission has two ends',
      'notOneEnd',
      { journal: (lines) => [...lines, fact('mission.cancelled', {})] },
    ],
    ['a mission has none', 'notOneEnd', { journal: (lines) => lines.slice(0, -1) }],
    [
      'something is recorded behind the end',
      'notOneEnd',
      { journal: (lines) => [...lines, fact('mission.claimed', {})] },
    ],
    ['the daemon tells another story', 'otherStatus', { known: { statuses: new Map([[ID, 'failed']]) } }],
    [
      'an effect is there twice',
      'ranTwice',
      { effects: (all) => [...all, { ...all[0], at: 9n, epoch: 2 } as Effect] },
    ],
    ['an effect is not there', 'effectMissing', { effects: () => [] }],
    [
      'an effect has no record',
      'effectUnaccounted',
      { journal: (lines) => lines.filter(({ type }) => type !== 'mission.step_started') },
    ],
    [
      'a former attempt is still at work',
      'atOnce',
      { effects: ([one, two]) => [{ ...one, epoch: 2 } as Effect, two as Effect] },
    ],
    [
      'a step was given what is not its own',
      'wrongInput',
      { effects: (all) => all.map((one) => ({ ...one, from: 'm-other/x' })) },
    ],
    ['a step broke off that nobody killed', 'brokenOff', { effects: (all) => all.slice(0, 1) }],
  ]
  for (const [name, list, spoiled] of cases) t.not(judged(t, spoiled)[list].length, 0, name)
})

interface Spoiled {
  readonly journal?: (lines: Line[]) => Line[]
  readonly effects?: (all: Effect[]) => Effect[]
  readonly known?: Partial<Known>
}

type Line = ReturnType<typeof fact>

/** One mission of one step, well done, and then spoiled. */
function judged(t: Tap, { journal = same, effects = same, known = {} }: Spoiled): ReturnType<typeof judge> {
  const dir = t.testdir({})
  mkdirSync(join(dir, 'audit'), { recursive: true })
  const lines = journal([
    fact('mission.created', { plan: [{ id: 'only' }] }),
    fact('mission.claimed', {}),
    fact('mission.step_started', { step: 'only' }),
    fact('mission.step_finished', { step: 'only', status: 'completed' }),
    fact('mission.ended', { status: 'completed' }),
  ])
  writeFileSync(join(dir, 'audit.jsonl'), lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  const about = { mission: ID, step: 'only', epoch: 1, token: `${ID}/only`, from: null, pid: 1 } as const
  const left = effects([
    { ...about, say: 'begun', kind: 'once', at: 1n },
    { ...about, say: 'done', kind: 'once', at: 2n },
  ])
  const told = {
    accepted: new Map([['key', new Set([ID])]]),
    killed: new Set<number>(),
    statuses: new Map([[ID, 'completed']]),
  }
  return judge(dir, left, { ...told, ...known })
}

function fact(type: string, d: object) {
  return { type, mid: ID as string | undefined, ep: 1, d }
}

function same<T>(value: T): T {
  return value
}

type Tap = Pick<typeof t, 'testdir'>
const ID = 'm-one'
