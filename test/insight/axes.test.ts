import t from 'tap'
import { AXES, type AxisInputs, neededFor60, scoreAxes, WEIGHTS } from '../../daemon/insight/axes.ts'
import { DECLARED_WORTH, pricesFrom, weightsFrom } from '../../daemon/insight/prices.ts'
import { seededChance } from '../../daemon/kit/chance.ts'

interface Case {
  n?: number
  s?: number
  fp?: number
  c?: number
  op?: number
  u?: number
  median?: number
  rework?: number
  omen?: AxisInputs['omen']
}

t.test('the reference cases get their scores', async (t) => {
  const cases: [
    name: string,
    category: keyof typeof DECLARED_WORTH,
    given: Case,
    score: number,
    decision: string,
    ungated?: number,
  ][] = [
    ['cold start', 'coin', {}, 55.6, 'BORDERLINE'],
    ['cold start', 'sanctuary', {}, 47.8, 'BORDERLINE'],
    ['self-test 3/3', 'coin', { n: 3, s: 3, fp: 3, c: 0.9 }, 73.8, 'SAFE'],
    ['self-test 3/3', 'sanctuary', { n: 3, s: 3, fp: 3, c: 0.9 }, 64.7, 'SAFE'],
    ['cheap and proven', 'coin', { n: 10, s: 10, fp: 10, u: 0.3, op: 0, c: 0.9 }, 85.9, 'SAFE'],
    ['library', 'library', { n: 20, s: 20, fp: 19, u: 0.4, op: 0, c: 0.9 }, 81.6, 'SAFE'],
    ['forge', 'forge', { n: 50, s: 45, fp: 40, u: 0.5, op: 1, c: 0.8 }, 80.6, 'SAFE'],
    ['forge, ten of them', 'forge', { n: 10, s: 7, fp: 5, c: 0.6 }, 65.8, 'SAFE'],
    ['a coin toss', 'coin', { n: 10, s: 5, fp: 3, u: 0.8 }, 59, 'BORDERLINE', 59.9],
    ['mostly fails', 'library', { n: 10, s: 2, fp: 1, u: 1, op: 6, c: 0.4 }, 40.3, 'BORDERLINE'],
    ['mostly fails', 'coin', { n: 10, s: 2, fp: 1, u: 1, op: 6, c: 0.4, omen: 'warn' }, 44.8, 'BORDERLINE'],
    [
      'never works',
      'sanctuary',
      { n: 10, s: 0, fp: 0, u: 1.5, op: 10, rework: 0.3, c: 0.4, omen: 'intervene' },
      22.2,
      'FAILING',
    ],
    ['never works', 'coin', { n: 30, s: 0, fp: 0, u: 1.2, op: 10, rework: 0.5, c: 0.4 }, 28.2, 'FAILING'],
    [
      'never fits its limit',
      'coin',
      { n: 20, s: 20, fp: 20, u: 2, median: 1.2, op: 0, c: 0.9 },
      29,
      'FAILING',
      70.8,
    ],
  ]
  for (const [name, category, given, score, decision, ungated = score] of cases) {
    const found = scoreAxes({ ...inputs(given), worth: DECLARED_WORTH[category] })
    const near = Math.abs(found.score - score) <= 0.1 && Math.abs(found.ungated - ungated) <= 0.1
    t.ok(near, `${name}, ${category}: ${found.score} (${found.ungated}) for ${score}`)
    t.equal(found.decision, decision, `${name}, ${category}`)
  }
})

t.test('each gate holds the score down where it says, and nowhere before', async (t) => {
  const proven: Case = { n: 20, s: 20, fp: 20, u: 0.3, op: 0, c: 0.9 }
  const caps = (given: Case, more: Partial<AxisInputs> = {}): [string[], number] => {
    const found = scoreAxes({ ...inputs(given), ...more })
    return [found.gates.map(({ gate, cap }) => `${gate} ${cap}`), found.score]
  }
  const blocked = { obstacles: [{ because: 'x is locked', remedy: 'unlock module x' }] }
  t.strictSame(caps(proven)[0], [], 'none for what is proven')
  t.strictSame(caps(proven, blocked), [['G0 0'], 0])
  t.strictSame(caps({ n: 10, s: 6 })[0], ['G1 59'])
  t.strictSame(caps({ ...proven, u: 1, median: 0.9 }), [['G2 59'], 59])
  t.strictSame(caps({ ...proven, u: 0.999, median: 0.9 })[0], [])
  t.strictSame(caps({ ...proven, u: 1.4, median: 1.01 }), [['G3 29', 'G2 59'], 29])
  t.strictSame(caps({ n: 10, s: 0, fp: 0 })[0], ['G4 29', 'G1 59'])
  t.strictSame(caps({ ...proven, omen: 'intervene' }), [['G5 59'], 59])
  t.strictSame(caps({ ...proven, omen: 'warn' })[0], [])
  t.strictSame(caps(proven, { unproven: [{ moduleId: 'a/b', outcomes: 2 }] }), [['G6 59'], 59])
})

t.test('points lost add up to what is missing, to the tenth', async (t) => {
  const chance = seededChance(3)
  for (let round = 0; round < 300; round += 1) {
    const n = Math.floor(chance.next() * 40)
    const s = Math.floor(chance.next() * (n + 1))
    const found = scoreAxes(
      inputs({ n, s, fp: s, u: chance.next() * 3, op: chance.next() * 20, c: chance.next() }),
    )
    const lost = AXES.reduce((sum, axis) => sum + found.pointsLost[axis], 0)
    t.equal(Math.round(lost * 10), Math.round((100 - found.ungated) * 10), `${n}, ${s}`)
  }
})

t.test('an axis lifted to what it needs lifts the score to 60', async (t) => {
  const cold = scoreAxes(inputs({}))
  for (const axis of AXES) {
    const needed = neededFor60(axis, cold.values[axis], cold.ungated, WEIGHTS)
    const lifted = AXES.reduce(
      (sum, each) => sum + WEIGHTS[each] * Math.log(each === axis ? needed : cold.values[each]),
      0,
    )
    t.ok(Math.abs(Math.exp(lifted) - 60) < 0.1, axis)
  }
})

t.test('weights of an operator add up to one, and a wrong name or number is refused', async (t) => {
  const weights = weightsFrom({ trust: 0.4 })
  t.ok(Math.abs(AXES.reduce((sum, axis) => sum + weights[axis], 0) - 1) < 1e-12)
  t.ok(weights.trust > WEIGHTS.trust && weights.attention < WEIGHTS.attention)
  t.throws(() => weightsFrom({ turst: 0.4 }), { code: 'CONFIG_INVALID', message: /turst/ })
  t.throws(() => weightsFrom({ trust: -1 }), { code: 'CONFIG_INVALID' })
  t.throws(() => weightsFrom({ trust: 0 }), { code: 'CONFIG_INVALID' })
  t.throws(() => pricesFrom({ slot_second: Number.NaN }), { code: 'CONFIG_INVALID' })
  t.strictSame(pricesFrom({ coin_seconds_a_day: 600, operator_minute: 3 }), {
    slotSecond: 0.01,
    operatorMinute: 3,
    operatorMinutesADay: 60,
    handleMinutes: 2,
    budgets: { coin: 600 },
  })
})

function inputs({
  n = 0,
  s = 0,
  fp = s,
  c = 0.5,
  op = 2,
  u = 0.6,
  median = u,
  rework = 0,
  omen = 'ignore',
}: Case): AxisInputs {
  return {
    a: 2 + s,
    b: 1 + n - s,
    outcomes: n,
    firstPasses: fp,
    rework,
    load: u,
    medianLoad: Math.min(median, u),
    operatorMinutes: op,
    operatorLoad: 0,
    worth: DECLARED_WORTH.coin,
    variation: 2 * (1 - c),
    calibration: 1,
    omen,
    obstacles: [],
    unproven: [],
  }
}
