import type { ScaleFigure } from './scale.ts'
import { show, verdict } from './table.ts'

type Value = (figure: ScaleFigure) => number | undefined

/** One column for each size, how the figure grows between the two largest, the target, and whether the largest meets it. */
export function scaleTable(scale: readonly ScaleFigure[] | string): string[][] {
  if (typeof scale === 'string') return [['history'], [scale]]
  const largest = scale.at(-1)
  const former = scale.at(-2)
  const row = (what: string, value: Value, target = '', isMet?: (value: number) => boolean): string[] => {
    const last = largest === undefined ? undefined : value(largest)
    // A target speaks of a million; a smaller history says nothing about it.
    const judged = isMet !== undefined && (largest?.missions ?? 0) >= TARGET_MISSIONS
    return [
      what,
      ...scale.map((figure) => show(value(figure))),
      exponent(former, largest, value),
      target,
      judged ? verdict(last, isMet) : '',
    ]
  }
  const reads = Object.keys(largest?.reads ?? {}).flatMap((name) => {
    const isList = name.startsWith('list')
    const p99: Value = ({ reads: all }) => all[name]?.p99Ms
    return [
      row(`${name}, p50 ms`, ({ reads: all }) => all[name]?.p50Ms),
      isList ? row(`${name}, p99 ms`, p99, '≤ 10', (ms) => ms <= 10) : row(`${name}, p99 ms`, p99),
    ]
  })
  return [
    [
      'missions of history',
      ...scale.map(({ missions }) => missions.toLocaleString('en')),
      'exponent',
      'target',
      '',
    ],
    row('records', ({ records }) => records),
    row('first start, everything is derived, s', ({ firstStartMs }) => firstStartMs / 1_000),
    row(
      'start, s',
      ({ startMs }) => startMs / 1_000,
      '≤ 3',
      (seconds) => seconds <= 3,
    ),
    row('clean stop after the first start, s', ({ stopMs }) => stopMs / 1_000),
    row(
      'daemon when started, MiB PSS',
      ({ freshMiB }) => freshMiB,
      '≤ 350',
      (size) => size <= 350,
    ),
    row(
      'daemon after all that, MiB PSS',
      ({ usedMiB }) => usedMiB,
      '≤ 350',
      (size) => size <= 350,
    ),
    row('journal, MiB', ({ journalMiB }) => journalMiB),
    row('data folder, MiB', ({ folderMiB }) => folderMiB),
    ...reads,
    row('create/s, 64 in flight', ({ createPerSecond }) => createPerSecond),
    row(
      'its time by that of an empty daemon beside it',
      ({ createPerSecond, emptyCreatePerSecond }) => emptyCreatePerSecond / createPerSecond,
      '≤ 1.1',
      (ratio) => ratio <= 1.1,
    ),
    row('missions/s, create to finished, 64 in flight', ({ perSecond }) => perSecond),
    row('create alone, p50 ms', ({ createP50Ms }) => createP50Ms),
    row('create alone, p99 ms', ({ createP99Ms }) => createP99Ms),
    row(
      'create alone, p50 by that of an empty daemon',
      ({ createP50Ms, emptyCreateP50Ms }) => createP50Ms / emptyCreateP50Ms,
      '≤ 1.1',
      (ratio) => ratio <= 1.1,
    ),
  ]
}

/** The e of cost ~ missions^e: 0 does not grow, 1 grows with history. */
function exponent(one: ScaleFigure | undefined, other: ScaleFigure | undefined, value: Value): string {
  if (one === undefined || other === undefined || one.missions === 0) return ''
  const [before, after] = [value(one), value(other)]
  if (!before || !after) return ''
  return (Math.log(after / before) / Math.log(other.missions / one.missions)).toFixed(2)
}

const TARGET_MISSIONS = 1_000_000
