import { round } from '../kit/numbers.ts'
import type { MissionsFigures } from './missions.ts'
import { CONTENDERS, type QueueFigure } from './queues.ts'
import type { ThroughputFigure } from './throughput.ts'

/** The figures as rows of text: what, how much, beside what, the target, and whether it is met. */
export function tableOf(figures: MissionsFigures): string[][] {
  return [['what', 'measured', 'beside', 'target', ''], ...throughputRows(figures), ...aloneRows(figures)]
}

function throughputRows({ limit, nexus, queues, enginePerSecond }: MissionsFigures): string[][] {
  const bullmq = perSecondOf(queues[CONTENDERS[0]?.name ?? ''])
  const rows: string[][] = []
  for (const [name, figure] of Object.entries(nexus)) {
    const what = `missions/s ${name}`
    const factor = name.startsWith('in batches') ? 2 : 1.25
    const target = `≥ ${factor} × BullMQ, fsync always`
    if (typeof figure === 'string') rows.push([what, figure, '', target, ''])
    else {
      const ratio = bullmq === undefined ? undefined : figure.perSecond / bullmq
      const beside = ratio === undefined ? '' : `${show(ratio)} × BullMQ; `
      const met = verdict(ratio, (value) => value >= factor)
      rows.push([what, show(figure.perSecond), `${beside}${details(figure)}`, target, met])
    }
  }
  for (const [name, figure] of Object.entries(queues)) {
    const what = `jobs/s, ${name}`
    if (typeof figure === 'string') rows.push([what, figure, '', '', ''])
    else if (figure.togetherPerSecond !== undefined) {
      const { togetherPerSecond: together, inTurnPerSecond: inTurn } = figure
      const beside = `handed in and worked off at once ${show(together)}, in turn ${show(inTurn)}`
      rows.push([what, show(perSecondOf(figure)), beside, '', ''])
    }
  }
  if (typeof limit === 'object') {
    rows.push(['jobs/s, the log alone', show(limit.logPerSecond), 'two synced records a job', '', ''])
  }
  if (enginePerSecond !== undefined) {
    const isMeasured = typeof limit === 'object' && typeof enginePerSecond === 'number'
    const share = isMeasured ? enginePerSecond / limit.logPerSecond : undefined
    const beside = share === undefined ? '' : `${show(share)} × the log alone`
    const met = verdict(share, (value) => value >= 0.25)
    rows.push([
      'missions/s, the engine without HTTP',
      show(enginePerSecond),
      beside,
      '≥ 0.25 × the log alone',
      met,
    ])
  }
  return rows
}

function aloneRows({ limit, alone, queues }: MissionsFigures): string[][] {
  const others = Object.entries(queues).flatMap(([name, figure]) => {
    const isDurable = CONTENDERS.find((contender) => contender.name === name)?.durable === true
    const ms = typeof figure === 'object' ? figure.aloneMs : undefined
    return ms === undefined ? [] : [{ name, ms, isDurable }]
  })
  const best = others.filter(({ isDurable }) => isDurable).sort((a, b) => a.ms - b.ms)[0]
  const rows: string[][] = []
  if (alone !== undefined) {
    const sync = typeof limit === 'object' ? `one fdatasync ${show(limit.syncMs)} ms` : ''
    const target = '≤ the best of the durable others'
    const [events, run] = typeof alone === 'string' ? [alone, alone] : [alone.eventsMs, alone.runMs]
    const isMet = typeof events === 'number' && best !== undefined ? events / best.ms : undefined
    const met = verdict(isMet, (value) => value <= 1)
    rows.push(['one mission alone, told by the stream of facts, p50 ms', show(events), sync, target, met])
    rows.push(['one mission alone, told by the answer to `run`, p50 ms', show(run), '', '', ''])
  }
  return [...rows, ...others.map(({ name, ms }) => [`one job alone, ${name}, p50 ms`, show(ms), '', '', ''])]
}

/** The better of the two ways to load it. */
function perSecondOf(figure: Partial<QueueFigure> | string | undefined): number | undefined {
  if (typeof figure !== 'object' || figure.togetherPerSecond === undefined) return undefined
  return Math.max(figure.togetherPerSecond, figure.inTurnPerSecond ?? 0)
}

function details(figure: ThroughputFigure): string {
  const { createdPerSecond, createP50Ms, createP99Ms, clientBusy, daemonCpuMs, hostsCpuMs } = figure
  return [
    `handed in ${show(createdPerSecond)}/s`,
    `answers p50 ${show(createP50Ms)} ms, p99 ${show(createP99Ms)}`,
    `processor time of each: daemon ${show(daemonCpuMs)} ms, hosts ${show(hostsCpuMs)}; client busy ${show(clientBusy)}`,
  ].join('; ')
}

export function show(value: number | string | undefined): string {
  if (typeof value === 'string') return value
  return value === undefined || Number.isNaN(value) ? '–' : String(round(value))
}

/** Said plainly; nothing where there is nothing to hold it against. */
export function verdict(value: number | undefined, isMet: (value: number) => boolean): string {
  if (value === undefined || Number.isNaN(value)) return ''
  return isMet(value) ? 'met' : 'MISSED'
}
