import type { Actor, FactDraft } from '../contracts/fact.ts'
import type { MaintenanceFacts } from './book.ts'
import type { MaintenancePorts } from './port.ts'

export const SCHEDULER: Actor = { kind: 'scheduler', name: 'scheduler' }

/** Resolves when it is durable and the book has it. */
export async function write<Type extends keyof MaintenanceFacts>(
  { append }: Pick<MaintenancePorts, 'append'>,
  type: Type,
  actor: Actor,
  body: MaintenanceFacts[Type],
): Promise<void> {
  await append({ type, actor, d: body as unknown as FactDraft['d'] })
}
