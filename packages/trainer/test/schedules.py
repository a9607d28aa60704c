"""Writes schedules-transformers-*.json: python3 schedules.py OUT (needs torch and transformers)."""
import json, sys, torch, transformers, warnings
warnings.simplefilter('ignore')
from transformers import get_scheduler
cases=[]
def case(name, warm, total, kwargs_py, kwargs_ts):
    p=torch.nn.Parameter(torch.zeros(1)); o=torch.optim.SGD([p], lr=1e-3)
    s=get_scheduler(name, o, num_warmup_steps=warm, num_training_steps=total, scheduler_specific_kwargs=kwargs_py)
    f=[]
    for _ in range(total+3):
        f.append(s.get_last_lr()[0]/1e-3); o.step(); s.step()
    cases.append(dict(name=name,warmupSteps=warm,totalSteps=total,kwargs=kwargs_ts,factors=f))
for name in ['linear','cosine','constant','constant_with_warmup','inverse_sqrt','polynomial','cosine_with_restarts']:
    case(name,0,12,None,{}); case(name,4,13,None,{})
case('cosine',2,10,{'num_cycles':1.5},{'numCycles':1.5})
case('cosine_with_restarts',2,14,{'num_cycles':3},{'numCycles':3})
case('polynomial',3,11,{'power':2.0,'lr_end':1e-5},{'power':2.0,'lrEnd':1e-5})
case('inverse_sqrt',3,11,{'timescale':50},{'timescale':50})
case('cosine_with_min_lr',2,10,{'min_lr':1e-4},{'minLr':1e-4})
case('cosine_with_min_lr',0,10,{'min_lr_rate':0.3},{'minLrRate':0.3})
case('warmup_stable_decay',3,16,{'num_decay_steps':5},{'numDecaySteps':5})
case('warmup_stable_decay',3,16,{'num_decay_steps':6,'min_lr_ratio':0.1,'decay_type':'linear'},{'numDecaySteps':6,'minLrRatio':0.1,'decayType':'linear'})
case('warmup_stable_decay',2,12,{'num_decay_steps':6,'decay_type':'1-sqrt'},{'numDecaySteps':6,'decayType':'1-sqrt'})
json.dump(dict(source=f'transformers {transformers.__version__}, get_scheduler: factor of the learning rate by optimiser step', cases=cases), open(sys.argv[1], 'w'), indent=1)
