import { round } from '../kit/numbers.ts'
import type { MissionsFigures } from './missions.ts'

/** The figures as rows of text: what, how much, beside what, the target, and whether it is met. */
export function tableOf({ limit, nexus, enginePerSecond, alone }: MissionsFigures): string[][] {
  const rows: string[][] = [['what', 'measured', 'beside', 'target', 'met']]
  for (const [name, figure] of Object.entries(nexus)) {
    if (typeof figure === 'string') {
      rows.push([`missions/s ${name}`, figure, '', '', ''])
      continue
    }
    const { perSecond, createdPerSecond, createP50Ms, createP99Ms, clientBusy, daemonBusy } = figure
    const beside = [
      `created ${show(createdPerSecond)}/s`,
      `answers p50 ${show(createP50Ms)} ms, p99 ${show(createP99Ms)}`,
      `processors: client ${show(clientBusy)}, daemon ${show(daemonBusy)}`,
    ]
    rows.push([`missions/s ${name}`, show(perSecond), beside.join('; '), '', ''])
  }
  if (typeof limit === 'object') {
    rows.push(['the log alone, jobs/s', show(limit.logPerSecond), `${limit.syncs} syncs`, '', ''])
  }
  if (enginePerSecond !== undefined) {
    const share =
      typeof limit === 'object' && typeof enginePerSecond === 'number'
        ? enginePerSecond / limit.logPerSecond
        : undefined
    rows.push([
      'the engine without HTTP, missions/s',
      show(enginePerSecond),
      share === undefined ? '' : `${show(share)} of the log alone`,
      '≥ 0.25 of the log alone',
      verdict(share, (value) => value >= 0.25),
    ])
  }
  if (alone !== undefined) {
    const sync = typeof limit === 'object' ? `one fdatasync ${show(limit.syncMs)} ms` : ''
    const [events, run] =
      typeof alone === 'string' ? [alone, alone] : [show(alone.eventsMs), show(alone.runMs)]
    rows.push(['one mission alone, told by events, ms p50', events, sync, '', ''])
    rows.push(['one mission alone, told by `run`, ms p50', run, sync, '', ''])
  }
  return rows
}

export function show(value: number | string | undefined): string {
  if (typeof value === 'string') return value
  return value === undefined || Number.isNaN(value) ? '–' : String(round(value))
}

function verdict(value: number | undefined, isMet: (value: number) => boolean): string {
  if (value === undefined || Number.isNaN(value)) return ''
  return isMet(value) ? 'met' : 'MISSED'
}
