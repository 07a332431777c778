import type { ActionContext } from 'aeon-nexus/module'
import { readCosts, readHistory } from './history.ts'
import { missionsReport } from './missions-report.ts'
import { summarise } from './missions-summary.ts'
import type { Settings } from './settings.ts'

/** Analyses the daemon's own missions: outcomes, durations, costs, failures. The asking mission itself is left out. */
export async function analyseMissions(
  settings: Settings,
  ctx: ActionContext,
  artifacts: boolean,
): Promise<object> {
  if (ctx.records === undefined) throw new Error('the daemon has not given this module its records to read')
  const history = await readHistory(ctx.records, settings.missions_max, ctx.signal)
  ctx.progress(0.5, 'missions read')
  const costs = await readCosts(ctx.records.journal, ctx.signal)
  const missions = history.missions
    .filter(({ id }) => id !== ctx.mission?.mission_id)
    .map((mission) => ({ ...mission, cpuSeconds: mission.cpuSeconds ?? costs.get(mission.id) }))
  const view = summarise(missions, history)
  const { by, slowest: _slowest, ...result } = view
  const answer = { ...result, by_category: by.category, findings: result.findings.slice(0, 6) }
  if (!artifacts) return { ...answer, artifacts: [] }
  await ctx.artifact('findings.md', missionsReport(view), 'text/markdown')
  await ctx.artifact('findings.json', JSON.stringify(view, null, 1), 'application/json')
  return { ...answer, artifacts: ['findings.md', 'findings.json'] }
}
