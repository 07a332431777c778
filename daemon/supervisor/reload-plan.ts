import type { Manifest } from '../contracts/manifest.ts'
import type { ReloadPlan } from '../contracts/status.ts'
import type { ReloadOrder, SupervisorEnvironment } from './port.ts'
import { ROLLED_BACK_BY_HAND } from './remembered.ts'
import { type Strategy, strategyFor } from './strategies.ts'
import type { Unit } from './unit.ts'

interface PlanBooks {
  readonly env: SupervisorEnvironment
  readonly dependants: readonly string[]
}

/** Tells what a reload would do now. Nothing is written, started or stopped. @throws NexusError as the reload would. */
export async function planReload(
  unit: Unit,
  wish: Pick<ReloadOrder, 'strategy' | 'generation'>,
  { env, dependants }: PlanBooks,
): Promise<ReloadPlan> {
  const next =
    wish.generation === undefined
      ? await env.catalog.survey(unit.id)
      : await env.catalog.kept(unit.id, wish.generation)
  const serves = unit.serving !== undefined && (unit.state === 'started' || unit.state === 'reloading')
  const previous = unit.generation?.id ?? null
  const strategy = strategyFor(wish.strategy, unit.manifest ?? next.manifest, next.manifest)
  const refused = wish.generation === undefined && next.id !== previous ? unit.refusal(next.id) : undefined
  const reason = refusalOf(unit, serves, refused)
  const steps = {
    from: previous,
    to: next.id,
    before: unit.takers.length,
    after: unit.replicasOf(next.manifest),
  }
  const would = serves
    ? SENTENCES[strategy]({ ...steps, manifest: next.manifest, dependants })
    : [`start ${instances(steps.after)} of ${short(next.id)}: nothing serves now`, ...tests(next.manifest)]
  return {
    module_id: unit.id,
    dry_run: true,
    strategy: serves ? strategy : 'immediate',
    generation: next.id,
    previous_generation: previous,
    content_changed: next.id !== previous,
    would: reason === undefined ? would : [],
    ...(reason === undefined ? {} : { refused: reason }),
  }
}

/** Why the reload would come to nothing. */
function refusalOf(
  unit: Unit,
  serves: boolean,
  refused: { readonly phase: string; readonly reason: string } | undefined,
): string | undefined {
  if (refused?.phase === ROLLED_BACK_BY_HAND) return `${refused.reason}; change the code, or name it`
  if (refused !== undefined) {
    return `this generation was reverted before (${refused.phase}: ${refused.reason}); change it, or name it`
  }
  if (serves || !AT_REST.has(unit.state)) return undefined
  return `the module is ${unit.state}: ${unit.because}`
}

const AT_REST: ReadonlySet<string> = new Set(['stopped', 'stopping', 'invalid', 'locked'])

interface Steps {
  readonly from: string | null
  readonly to: string
  /** Instances that take calls now, and those of the next generation. */
  readonly before: number
  readonly after: number
  readonly manifest: Manifest
  readonly dependants: readonly string[]
}

const SENTENCES: Readonly<Record<Strategy, (steps: Steps) => string[]>> = {
  graceful: ({ to, before, after, manifest }) => [
    `start ${instances(after)} of ${short(to)} beside the ${before} that serve`,
    ...tests(manifest),
    'send calls to the new ones; the old ones stay warm',
    settling(manifest),
    draining(before, manifest),
  ],
  rolling: ({ to, before, after, manifest }) => [
    `${after} times: start one instance of ${short(to)} beside those that serve`,
    ...tests(manifest),
    `watch it: the first and the last for ${manifest.timeouts.settle_ms} ms, those between for ${Math.round(manifest.timeouts.settle_ms / Math.max(1, after))} ms`,
    `then drain one of the ${before} old ones; if one does not hold, bring the old ones back one by one`,
  ],
  immediate: ({ to, from, before, after, manifest, dependants }) => [
    draining(before, manifest),
    `start ${instances(after)} of ${short(to)}; calls wait meanwhile`,
    ...tests(manifest),
    settling(manifest),
    `if it does not hold, start ${short(from ?? to)} again`,
    ...(dependants.length === 0
      ? []
      : [`${dependants.join(', ')} would wait too, if that takes longer than a second`]),
  ],
}

function tests({ self_test: tests }: Manifest): string[] {
  return tests.length === 0
    ? []
    : [`run ${tests.length} self-tests three times on each before it takes calls`]
}

function settling({ timeouts }: Manifest): string {
  return `watch them for ${timeouts.settle_ms} ms, and go back if one exits, hangs, is unhealthy or fails calls`
}

function draining(count: number, { timeouts }: Manifest): string {
  return `let the ${count} old ones end their calls for ${timeouts.drain_ms} ms at most, and stop them`
}

function instances(count: number): string {
  return count === 1 ? '1 instance' : `${count} instances`
}

function short(generation: string): string {
  return generation.slice(0, 12)
}
