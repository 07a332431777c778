interface PlanRequest {
  readonly goal: string
  readonly constraints?: { readonly max_steps?: number }
  readonly input?: unknown
}

interface PlanStep {
  readonly id: string
  readonly uses: string
  readonly with: Readonly<Record<string, unknown>>
}

/** In the order of their use: what is wrong now, whether the past can be trusted, what can go. */
const CHECKS = ['diagnose', 'verify', 'prunable'] as const
type Check = (typeof CHECKS)[number]

/** Words of a goal that ask for one check. */
const WORDS: Readonly<Record<Check, RegExp>> = {
  diagnose: /\b(diagnos|health|load|memory|cpu|disk|metric|slow|status|monitor|inspect)/i,
  verify: /\b(verif|journal|audit|chain|integrit|tamper|hash)/i,
  prunable: /\b(prun|clean|tidy|sweep|space|garbage|unused|stale|obsolete|leftover|reclaim)/i,
}

/**
 * What the goal names, or everything; no more than `max_steps`. The steps do not need one another.
 *
 * What cannot work is said now, before the mission is judged: a field nobody reads.
 */
export function plan(request: PlanRequest, self: string): { plan: PlanStep[] } {
  const named = given(request.input) ?? CHECKS.filter((check) => WORDS[check].test(request.goal))
  const wanted = named.length > 0 ? named : [...CHECKS]
  const steps = wanted.slice(0, request.constraints?.max_steps ?? CHECKS.length)
  return { plan: steps.map((check) => ({ id: check, uses: `${self}/${check}`, with: {} })) }
}

function given(input: unknown): Check[] | undefined {
  if (input === undefined || input === null) return undefined
  const { checks, ...rest } = (typeof input === 'object' ? input : { input }) as Record<string, unknown>
  const unknown = Object.keys(rest)
  if (typeof input !== 'object' || Array.isArray(input) || unknown.length > 0) {
    throw new Error(`the input of a sanctuary mission is {checks: [${CHECKS.join(', ')}]}, or absent`)
  }
  if (checks === undefined || checks === null) return undefined
  const listed = Array.isArray(checks) ? checks : []
  if (listed.length === 0 || listed.some((check) => !CHECKS.includes(check))) {
    throw new Error(`input.checks is a list of some of ${CHECKS.join(', ')}`)
  }
  return CHECKS.filter((check) => listed.includes(check))
}
