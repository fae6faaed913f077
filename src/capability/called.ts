/** What actions call, through steps and references. */
import { findFunction, findOperation } from './model.ts'
import type { Action, Capability, ConsumedOperation } from './model.ts'

/** Every consumed operation that an action may call. */
export function calledOperations(capability: Capability, action: Action): readonly ConsumedOperation[] {
  const called = (call: string): readonly ConsumedOperation[] => {
    const operation = findOperation(capability, call)
    return operation === null ? [] : [operation]
  }
  switch (action.kind) {
    case 'call':
      return called(action.call)
    case 'steps':
      return action.steps.flatMap((step) => (step.kind === 'call' ? called(step.call) : []))
    case 'ref': {
      const target = findFunction(capability, action.ref)
      return target === null ? [] : calledOperations(capability, target.action)
    }
    case 'mock':
      return []
  }
}
