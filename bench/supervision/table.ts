import { round } from '../kit/numbers.ts'
import type { EnduranceFigure, SharedFigure } from './ours.ts'
import type { BrokenFigure, Figures } from './rows.ts'
import type { SupervisionFigures } from './supervision.ts'

/** The figures as rows of text: one row for each target, one column for each supervisor, and the target. */
export function tableOf({ all, own }: SupervisionFigures): string[][] {
  const names = Object.keys(all)
  const each = (show: (figures: Figures) => string): string[] =>
    names.map((name) => {
      const figures = all[name]
      return typeof figures === 'object' ? show(figures) : (figures ?? '')
    })
  const ours = (text: string): string[] => names.map((name) => (name === 'NEXUS' ? text : '–'))
  return [
    ['what', ...names, 'target'],
    ['crash to serving, port, ms', ...each(({ crashMs }) => number(crashMs)), '≤ 25, ≤ 1/8 of PM2'],
    ['crash to serving, action, ms', ...ours(number(own.actionCrashMs)), '≤ 25'],
    ['reload to first answer, port, ms', ...each(({ reloadMs }) => number(reloadMs)), '≤ 40, ≤ 1/10 of PM2'],
    ['reload to first answer, action, ms', ...ours(number(own.actionReloadMs)), '≤ 40'],
    ['the same, with atomic saves, ms', ...ours(number(own.atomicReloadMs)), '≤ 40'],
    ['failed requests in reloads, port', ...each(({ reloads }) => failures(reloads)), '0 of ≥ 10,000'],
    ['failed calls in reloads, actions', ...ours(failures(own.actions)), '0 of ≥ 10,000'],
    ...brokenRows(each),
    ['hang to serving, ms', ...each(({ hangMs }) => number(hangMs)), '≤ 6,500'],
    ['start of 15 to all answering, ms', ...each(({ start15Ms }) => number(start15Ms)), '≤ 0.4 of PM2'],
    ['memory of the supervisor, MiB PSS', ...each(({ supervisorMiB }) => number(supervisorMiB)), '≤ 70'],
    ['memory of each module with an HTTP server, MiB PSS', ...each(({ moduleMiB }) => number(moduleMiB)), ''],
    ['memory of the smallest isolated module, MiB PSS', ...ours(number(own.bareMiB)), '≤ 12.5'],
    ['memory of each shared module, MiB PSS', ...ours(number(own.sharedMiB)), '≤ 1.5'],
    ['idle with 15, % of a processor', ...each(({ idlePercent }) => number(idlePercent)), '≤ 0.5'],
    ['status from a program, ms', ...each(({ probeMs }) => number(probeMs)), ''],
    ['live.js, × node -e 0', ...ours(number(own.liveRatio)), '≤ 1.25'],
    ['status.js, × node -e 0', ...ours(number(own.statusRatio)), '≤ 1.6'],
    ...(own.shared ?? []).map((figure) => [sharedName(figure), ...ours(sharedText(figure)), SHARED_TARGET]),
    ...(own.endurance ?? []).map((figure) => [
      `${figure.reloads} reloads of ${figure.what}`,
      ...ours(enduranceText(figure)),
      '< 20 MiB, nothing left',
    ]),
  ]
}

function brokenRows(each: (show: (figures: Figures) => string) => string[]): string[][] {
  return ['syntax', 'throws at boot', 'never ready', 'dies young', 'hangs young'].map((fault) => [
    `broken version: ${fault}`,
    ...each(({ broken }) => brokenText(broken?.find((figure) => figure.fault === fault))),
    'the old one serves, 0 failed',
  ])
}

function brokenText(figure: BrokenFigure | undefined): string {
  if (figure === undefined) return '–'
  const { ok, failed, gapMs, end } = figure
  return `${ENDS[end]}, ${failed} of ${ok + failed} failed, gap ${gapMs} ms`
}

function failures(figure: { readonly ok: number; readonly failed: number } | undefined): string {
  return figure === undefined ? '–' : `${figure.failed} of ${figure.ok + figure.failed}`
}

function sharedName({ modules }: SharedFigure): string {
  return `${modules} shared modules`
}

function sharedText(figure: SharedFigure): string {
  const { readyMs, statusMs, scrapeMs, treeMiB, idlePercent } = figure
  return [
    `ready ${number(readyMs)} ms`,
    `status ${number(statusMs)}`,
    `scrape ${number(scrapeMs)}`,
    `${number(treeMiB)} MiB`,
    `idle ${number(idlePercent)} %`,
  ].join(', ')
}

function enduranceText({ ms, rssMiB, files, processes }: EnduranceFigure): string {
  const change = ([before, after]: readonly [number, number]): string =>
    `${number(before)} → ${number(after)}`
  return `${number(ms)} ms, ${change(rssMiB)} MiB, files ${change(files)}, processes ${change(processes)}`
}

function number(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return '–'
  return value === Number.POSITIVE_INFINITY ? 'never' : String(round(value))
}

const SHARED_TARGET = 'ready ≤ 15 s, status ≤ 20 ms, scrape ≤ 100 ms (1,000)'
const ENDS = { old: 'old serves', broken: 'new serves', nobody: 'OUTAGE' } as const
