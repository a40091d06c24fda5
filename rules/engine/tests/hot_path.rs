//! Judging an event stays cheap however many rules are loaded, and threads share one detector.

use beffroi_engine::eval::{Builder, Frame, Judge, Scratch, fill_from_event};
use beffroi_engine::{Detector, RuleSet, compile};
use beffroi_schema::{Category, Event, Field, Product};

fn rules(count: usize) -> Vec<(String, String)> {
    let rule = |index: usize| {
        format!(
            "title: rule {index}\nid: rule-{index}\nlogsource: {{category: process_creation, product: linux}}\ndetection:\n  \
             image: {{Image|endswith: /tool-{index}}}\n  line: {{CommandLine|contains|all: ['--word-{index}', end]}}\n  \
             filter: {{ParentImage: /usr/bin/parent-{index}}}\n  condition: image and line and not filter\n"
        )
    };
    (0..count).map(|index| (format!("{index}.yml"), rule(index))).collect()
}

fn event(index: usize) -> Event {
    let mut event = Event::new(Category::ProcessCreation, Product::Linux, 0);
    event.set(Field::IMAGE, format!("/usr/bin/tool-{index}"));
    event.set(Field::COMMAND_LINE, format!("tool-{index} --word-{index} {} end", "x".repeat(200)));
    event.set(Field::PARENT_IMAGE, "/usr/bin/bash");
    event
}

#[test]
fn an_event_makes_only_the_rules_be_looked_at_whose_rarest_part_it_has() {
    let mut builder = Builder::default();
    for (_, text) in rules(3_000) {
        let parsed = rsigma_parser::parse_sigma_yaml(&text).expect("a rule");
        builder.add(&parsed.rules[0]).expect("it compiles");
    }
    let program = builder.finish();
    let judge = Judge::new(&program, &(0..3_000).collect::<Vec<_>>()).expect("it compiles");
    assert_eq!(judge.always(), 0);
    let mut scratch = Scratch::default();
    for index in (0..3_000).step_by(7) {
        let event = event(index);
        let mut frame = Frame::new(&program.names);
        fill_from_event(&mut frame, &program.names, &event);
        assert_eq!(judge.matches(&program, &frame, &mut scratch), [index as u32]);
        // `--word-2` is the beginning of `--word-2999`: one more rule for each digit.
        assert!(Judge::looked_at(&scratch).len() <= 4, "rules {:?}", Judge::looked_at(&scratch));
    }
}

#[test]
fn threads_share_a_detector_and_get_the_same_matches() {
    let (set, _) = RuleSet::from_texts(rules(100));
    let detector = compile(&set).expect("it compiles");
    let judge = || -> Vec<String> {
        let events = (0..200).map(event);
        events.flat_map(|event| detector.evaluate(&event)).map(|found| found.rule.id.clone()).collect()
    };
    let expected: Vec<String> = (0..100).map(|index| format!("rule-{index}")).collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(judge)).collect();
        for thread in threads {
            assert_eq!(thread.join().expect("no panic"), expected);
        }
    });
}
