import cProfile, pstats, time, json
from coordinator.gateway import admission, routes
from coordinator.gateway.pricing import Metered
from coordinator.public_types import Usage

def test_prof(world):
    route = routes.find("POST","anthropic","/v1/messages")
    body = json.dumps({"model":"claude-haiku-4-5","max_tokens":200,"stream":True,"messages":[{"role":"user","content":"x "*4000}]}).encode()
    t={}
    def timed(name, f, *a, **k):
        b=time.thread_time(); r=f(*a,**k); t.setdefault(name,[]).append((time.thread_time()-b)*1000); return r
    def once():
        c=timed("caller",admission.caller_of, world.token)
        a=timed("admit",admission.admit,c,route,raw=body,encoding="")
        timed("settle",admission.settle,a,admission.Ended(status=200,metered=Metered(usage=Usage(input_tokens=5,output_tokens=5))))
    for _ in range(20): once()
    t.clear()
    for _ in range(100): once()
    for k,v in t.items(): v.sort(); print(k, v[len(v)//2], v[0])
    p=cProfile.Profile(); p.enable()
    for _ in range(50): once()
    p.disable()
    pstats.Stats(p).sort_stats("cumtime").print_stats(60)
