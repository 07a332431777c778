import type { NexusModule } from 'aeon-nexus/module'
import { systemClock } from './clock.ts'
import { thisMachine } from './machine.ts'
import { Sampler } from './sampler.ts'
import type { Settings } from './settings.ts'

let sampler: Sampler | undefined

/** Measures the machine the daemon runs on. */
export default {
  start(ctx) {
    sampler = new Sampler(ctx, systemClock, thisMachine)
  },
  stop() {
    sampler?.stop()
    sampler = undefined
  },
  health() {
    return sampler?.health() ?? { status: 'unhealthy', reason: 'it was not started' }
  },
  configure(_ctx, change) {
    sampler?.configure(change.config as unknown as Settings)
    return 'applied'
  },
  actions: {
    collect(_input, ctx) {
      if (sampler === undefined) throw new Error('the sampler was not started')
      return sampler.collect(ctx.signal)
    },
  },
} satisfies NexusModule
