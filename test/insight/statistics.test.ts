import t from 'tap'
import { betaCdf, betaQuantile, gammaCdf, gammaQuantile, logGamma } from '../../daemon/insight/beta.ts'
import { readGoal } from '../../daemon/insight/fingerprint.ts'
import { sharesInTenths, wilsonLower } from '../../daemon/insight/numbers.ts'
import { Recent } from '../../daemon/insight/recent.ts'
import { Goals, similarity } from '../../daemon/insight/similarity.ts'
import { addOutcome, effective, noSums, sumsAt } from '../../daemon/insight/sums.ts'
import { seededChance } from '../../daemon/kit/chance.ts'

t.test('Beta quantiles are right to 1e-6 where a closed form or another method knows them', async (t) => {
  // Beta(a, 1): p^(1/a). Beta(1, b): 1 − (1−p)^(1/b). The others by summing the binomial that equals the CDF.
  const closed = [
    [0.1, 2, 1, Math.sqrt(0.1)],
    [0.9, 2, 1, Math.sqrt(0.9)],
    [0.1, 5, 1, 0.1 ** (1 / 5)],
    [0.9, 1, 3, 1 - 0.1 ** (1 / 3)],
    [0.5, 7, 7, 0.5],
    [0.1, 0.5, 0.5, Math.sin((Math.PI / 2) * 0.1) ** 2],
    [0.9, 0.5, 0.5, Math.sin((Math.PI / 2) * 0.9) ** 2],
  ] as const
  for (const [p, a, b, expected] of closed)
    t.ok(Math.abs(betaQuantile(p, a, b) - expected) < 1e-9, `Beta(${a}, ${b}) at ${p}`)

  for (const [a, b] of [
    [2, 3],
    [12, 1],
    [7, 6],
    [47, 6],
    [3, 40],
  ] as const)
    for (const p of [0.1, 0.5, 0.9])
      t.ok(Math.abs(binomialTail(betaQuantile(p, a, b), a, b) - p) < 1e-9, `Beta(${a}, ${b}) at ${p}`)
})

t.test('the Beta quantile undoes its CDF for tiny, huge and lopsided parameters', async (t) => {
  const chance = seededChance(1)
  const lost = []
  for (let round = 0; round < 500; round += 1) {
    const [a, b] = [10 ** (chance.next() * 7 - 1), 10 ** (chance.next() * 7 - 1)]
    const p = 0.01 + 0.98 * chance.next()
    const x = betaQuantile(p, a, b)
    // Near 1 a double cannot hold the value more finely than this.
    const slack = Math.max(
      1e-6,
      betaCdf(Math.min(1, x + 1e-12), a, b) - betaCdf(Math.max(0, x - 1e-12), a, b),
    )
    if (!(Math.abs(betaCdf(x, a, b) - p) < slack)) lost.push([p, a, b, x])
  }
  t.strictSame(lost, [])
})

t.test('Gamma quantiles agree with the Poisson sum and the exponential', async (t) => {
  t.ok(Math.abs(gammaQuantile(0.9, 1, 2) - Math.log(10) / 2) < 1e-9, 'shape 1 is the exponential')
  const x = gammaQuantile(0.1, 4, 1)
  const poisson = Math.exp(-x) * (1 + x + x ** 2 / 2 + x ** 3 / 6)
  t.ok(Math.abs(1 - poisson - 0.1) < 1e-9, 'shape 4')
  t.ok(Math.abs(gammaCdf(gammaQuantile(0.7, 900.5, 1), 900.5) - 0.7) < 1e-9, 'a large shape')
  t.ok(Math.abs(logGamma(0.5) - Math.log(Math.sqrt(Math.PI))) < 1e-12, 'Γ(1/2) = √π')
})

t.test("Wilson's one-sided bounds are the reference values", async (t) => {
  const bounds = [
    [3, 3],
    [4, 5],
    [5, 5],
    [8, 10],
    [0, 4],
    [0, 0],
  ].map(([s, n]) => wilsonLower(s ?? 0, n ?? 0))
  t.strictSame(
    bounds.map((bound) => bound.toFixed(3)),
    ['0.646', '0.514', '0.753', '0.602', '0.000', '0.000'],
  )
})

const DAY_MS = 86_400_000

/** Outcomes by age in days and duration, the oldest first. */
function recentOf(rows: readonly (readonly [ageDays: number, durationMs: number, goal?: string])[]): Recent {
  const recent = new Recent()
  for (const [index, [ageDays, durationMs, fingerprint = 'g']] of rows.entries())
    recent.add({
      mid: `m-${index}`,
      nth: index + 1,
      atMs: NOW_MS - ageDays * DAY_MS,
      fingerprint,
      success: true,
      durationMs,
      timedOut: false,
      operatorMinutes: index,
      value: durationMs,
    })
  return recent
}
const NOW_MS = Date.UTC(2026, 10, 22)

t.test('quantiles, means and variation of durations heed the age', async (t) => {
  // Weights 1/4, 1/2, 1/2, 1, 1: the sum is 3.25.
  const recent = recentOf([
    [60, 10],
    [30, 30],
    [30, 50],
    [0, 20],
    [0, 40],
  ])
  const alike = new Map<string, number>()
  const found = recent.details('g', alike, NOW_MS)
  // By duration: 10 (.25), 20 (1.25), 30 (1.75), 40 (2.75), 50 (3.25).
  const { p50Ms, p90Ms, meanMs, n } = found.durations ?? {}
  t.strictSame([n, p50Ms, p90Ms], [5, 30, 50])
  t.ok(Math.abs((meanMs ?? 0) - (2.5 + 15 + 25 + 20 + 40) / 3.25) < 1e-9)
  t.ok(Math.abs((found.operatorMinutes ?? 0) - (0.5 + 1 + 3 + 4) / 3.25) < 1e-9)
  t.equal(
    recent.details('g', alike, NOW_MS + 30 * DAY_MS),
    found,
    'all fade alike, so it is the same a month later',
  )
  t.equal(
    recentOf([[0, 3]]).details('g', new Map(), NOW_MS).variation,
    undefined,
    'one duration has no spread',
  )
  t.strictSame(new Recent().details('g', new Map(), NOW_MS).durations, undefined)
})

t.test('five similar goals speak for themselves, each as much as it is alike', async (t) => {
  const rows = [1, 2, 3, 4, 5].flatMap(
    (ms) =>
      [
        [0, ms, 'like'],
        [0, 100 * ms, 'other'],
      ] as const,
  )
  const recent = recentOf(rows)
  t.equal(recent.details('x', new Map([['like', 0.5]]), NOW_MS).durations?.p90Ms, 5)
  t.equal(recent.details('y', new Map(), NOW_MS).durations?.p90Ms, 400)
  const both = new Map([
    ['like', 1],
    ['other', 0.3],
  ])
  t.equal(recent.details('x', both, NOW_MS).durations?.n, 10, 'another map is another answer')
  const newest = recent.details('x', new Map([['like', 1]]), NOW_MS).missions
  t.strictSame(newest, ['m-8', 'm-6', 'm-4', 'm-2', 'm-0'])
})

t.test('an outcome from the future counts like now, and old ones leave', async (t) => {
  const recent = recentOf([
    [0, 10],
    [-365, 20],
    [-365, 30],
  ])
  t.equal(recent.details('g', new Map(), NOW_MS).durations?.meanMs, 20)
  recent.dropBefore(3)
  t.strictSame(recent.details('g', new Map(), NOW_MS).durations, { n: 1, p50Ms: 30, p90Ms: 30, meanMs: 30 })
  const many = recentOf(Array.from({ length: 1_000 }, (_, n) => [0, n % 7, `g-${n}`] as const))
  t.strictSame([many.outcomes.length, many.outcomes[0]?.mid], [200, 'm-800'])
  t.equal(many.details('g-999', new Map([['g-999', 1]]), NOW_MS).missions[0], 'm-999')
})

t.test('rounded shares add up to the rounded total, whatever is cut off', async (t) => {
  const chance = seededChance(2)
  for (let round = 0; round < 200; round += 1) {
    const raw = Array.from({ length: 6 }, () => chance.next())
    const total = Math.round(chance.next() * 1_000) / 10
    const sum = raw.reduce((all, part) => all + part, 0)
    const shares = sharesInTenths(
      raw.map((part) => (part / sum) * total),
      total,
    )
    t.equal(Math.round(shares.reduce((all, part) => all + part, 0) * 10), Math.round(total * 10))
  }
})

t.test(
  'goals that differ in numbers, dates, ids, addresses, order and filler have one fingerprint',
  async (t) => {
    const alike = [
      'Analyse 12 leads of 2026-11-22 from https://a.example/x?y=1 for ORD-1234 by 5 %',
      'analyse 7,5 leads of 2025-01-02T10:00:00Z from http://b.example for INV-98765 by 80%',
      'For ORD-1 please analyse: leads (3) of the 1.2.2024, by 4 from ftp://c.example/file',
    ].map((goal) => readGoal(goal).fingerprint)
    t.strictSame(new Set(alike.slice(0, 2)).size, 1)
    t.strictSame(readGoal('Optimize lead conversion process'), {
      fingerprint: readGoal('the PROCESS: conversion, lead; optimize!').fingerprint,
      tokens: ['conversion', 'lead', 'optimize', 'process'],
    })
    t.not(readGoal('optimize lead conversion').fingerprint, alike[0])
    t.strictSame(readGoal('do it for us').tokens, ['do', 'for', 'it', 'us'], 'stop words alone are kept')
    t.strictSame(readGoal('???').tokens, [])
    t.ok(
      readGoal(
        Array.from(
          { length: 400 },
          (_, n) => `w${String.fromCharCode(97 + (n % 26))}${'x'.repeat(n % 19)}`,
        ).join(' '),
      ).tokens.length <= 48,
    )
  },
)

t.test('a rare word makes goals more alike than a common one', async (t) => {
  const goals = new Goals(100)
  for (const word of ['red', 'green', 'blue', 'amber']) goals.meet(`g-${word}`, ['report', word])
  const idf = (token: string): number => goals.idf(token)
  const [common, rare] = [
    similarity(['report', 'fox'], ['report', 'owl'], idf),
    similarity(['amber', 'fox'], ['amber', 'owl'], idf),
  ]
  t.ok(common < 1 / 3 && rare > common, `${common} ${rare}`)
  t.equal(similarity(['a', 'b'], ['b', 'a'], idf), 1)
  t.equal(similarity([], [], idf), 0)
})

t.test('goals less than 0.3 alike are not found, and the least recently met are forgotten', async (t) => {
  const forgotten: string[] = []
  const goals = new Goals(3, (fingerprint) => forgotten.push(fingerprint))
  goals.meet('g-1', ['a', 'b', 'c'])
  goals.meet('g-2', ['a', 'x', 'y', 'z', 'w'])
  goals.meet('g-3', ['q'])
  t.strictSame([...goals.like('g-new', ['a', 'b', 'd']).keys()], ['g-1'])
  goals.meet('g-1', ['a', 'b', 'c'])
  goals.meet('g-4', ['r'])
  t.strictSame(forgotten, ['g-2'])
  t.strictSame([...goals.like('g-2', ['x', 'y']).keys()], [])
  t.equal(goals.like('g-1', ['a', 'b', 'c']).get('g-1'), 1)
})

t.test('among very many goals those that share a rare word are compared first', async (t) => {
  const goals = new Goals(5_000)
  for (let n = 0; n < 2_000; n += 1) goals.meet(`g-${n}`, ['daily', 'report', `of-${n}`])
  goals.meet('g-rare', ['daily', 'report', 'penguins'])
  const alike = goals.like('g-new', ['daily', 'penguins'])
  t.ok(alike.has('g-rare'))
  t.ok(alike.size <= 500)
})

t.test('an outcome counts half after thirty days, and one that comes late counts as old', async (t) => {
  const month = 30 * 86_400_000
  const sums = noSums()
  addOutcome(sums, month, { success: true, firstPass: true })
  addOutcome(sums, 0, { success: false, firstPass: false })
  const { n, weight, successes } = sumsAt(2 * month, [{ sums, share: 1 }])
  t.strictSame([n, weight, successes], [2, 0.75, 0.5])
  t.ok(Math.abs(effective(sums) - 1.5 ** 2 / 1.25) < 1e-12)
})

/** P(X ≥ a) for X ~ Binomial(a + b − 1, x): the Beta's CDF for whole parameters. */
function binomialTail(x: number, a: number, b: number): number {
  const n = a + b - 1
  let tail = 0
  for (let k = a; k <= n; k += 1)
    tail += Math.exp(logChoose(n, k) + k * Math.log(x) + (n - k) * Math.log1p(-x))
  return tail
}

function logChoose(n: number, k: number): number {
  let sum = 0
  for (let i = 1; i <= k; i += 1) sum += Math.log((n - k + i) / i)
  return sum
}
