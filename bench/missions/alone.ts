import { withSite } from './site.ts'
import { addressOf, client } from './throughput.ts'

/** Create to finished of one mission after the other, medians in milliseconds. */
export interface AloneFigure {
  /** As the stream of facts tells it. */
  readonly eventsMs: number
  /** As an answer to `run` tells it. */
  readonly runMs: number
}

export function measureAlone(root: string, missions: number): Promise<AloneFigure> {
  return withSite(root, async (site) => {
    const one = async (how: 'events' | 'run', count: number): Promise<number> => {
      const target = { path: site.socketPath }
      const order = { ...addressOf(site), target, how, missions: count, connections: 1 }
      const { complaint, p50Ms } = await client(order)
      if (complaint !== undefined) throw new Error(complaint)
      return p50Ms
    }
    await one('events', WARM)
    return { eventsMs: await one('events', missions), runMs: await one('run', missions) }
  })
}

const WARM = 100
