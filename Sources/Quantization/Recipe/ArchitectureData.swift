/// What `tools/conformance/selection_table.py` found in transformers 5.23.0; not written by hand.
enum ArchitectureData {
    /// Model types whose weights the generic rule and the exceptions sort as the library does.
    static let known = """
        afmoe aimv2 aimv2_vision_model albert align altclip apertus arcee aria aria_text
        audio-spectrogram-transformer audioflamingo3 audioflamingo3_encoder axk1 axk2 bailing_hybrid bamba bark bart
        beam beit bert bert-generation big_bird bigbird_pegasus biogpt bit bitnet blenderbot blenderbot-small blip
        blip-2 blip_2_qformer bloom blt bridgetower bros camembert canary canine chinese_clip
        chinese_clip_vision_model clap clip clip_text_model clip_vision_model clipseg clvp codegen cohere cohere2
        cohere2_moe cohere2_vision cohere_asr cohere_compass_vision convbert convnext convnextv2 cosmos3_edge
        cosmos3_edge_text cosmos3_edge_vision cosmos3_omni cpmant csm ctrl cvt cwm d_fine dac data2vec-audio
        data2vec-text data2vec-vision deberta deberta-v2 decision_transformer deepseek_v2 deepseek_v3 deepseek_v32
        deepseek_v4 deepseek_vl deepseek_vl_hybrid deimv2 deit depth_pro dia diffllama dinov2 dinov2_with_registers
        dinov3_convnext dinov3_vit distilbert doge donut-swin dots1 dots3_note dots3_note_text dpr dpt edgetam_video
        efficientloftr efficientnet electra embedding_gemma2 embedding_gemma2_text emu3 encodec encoder-decoder
        ernie ernie4_5 ernie4_5_moe ernie4_5_vl_moe esmc eurobert exaone4 exaone4_5 exaone4_5_vision exaone_moe
        falcon falcon_h1 falcon_mamba fastspeech2_conformer fastspeech2_conformer_with_hifigan flaubert flava
        flex_olmo flint florence2 fnet focalnet fsmt fun_asr_nano fun_asr_nano_encoder funnel fuyu gemma gemma2
        gemma3 gemma3_text gemma3n_audio gemma3n_text gemma4 gemma4_audio gemma4_text gemma4_unified
        gemma4_unified_text gemma4_vision git glm glm4 glm46v glm4_moe glm4_moe_lite glm4v glm4v_moe glm4v_moe_text
        glm4v_moe_vision glm4v_text glm4v_vision glm5_next glm5_next_text glm5_next_vision glm_image glm_image_text
        glm_image_vision glm_image_vqmodel glm_moe_dsa glm_ocr glm_ocr_text glm_ocr_vision glmasr glmasr_encoder
        glmga glpn got_ocr2 gpt-sw3 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_neox_japanese gpt_oss gptj
        gradium_phonon_tts granite granite_docling granite_docling_text granite_docling_vision granite_speech
        granite_speech5_ctc granite_speech5_encoder granite_speech_plus granite_swa granitemoe granitemoe_swa
        granitemoehybrid granitemoeshared grounding-dino groupvit gte helium hgnet_v2 hiera higgs_audio_v2 hrm_text
        hubert hunyuan_v1_dense hunyuan_v1_moe hunyuan_vl_vision hy_v3 hy_v4 hyperclovax hyperclovax_vision_v2 ibert
        idefics idefics2 idefics3 idefics3_vision ijepa imagegpt inkling2 inkling2_text inkling2_vision inkling_text
        instructblip instructblipvideo internlm3 internvl internvl_vision iquestcoder jais2 jamba janus jetmoe
        jina_embeddings_v3 kimi_k25 kimi_k25_vision kimi_linear kolibri1 kosmos-2 kosmos-2.5 kyutai_speech_to_text
        laguna lasr_ctc lasr_encoder layoutlm layoutlmv3 led levit lfm2 lfm2_moe lfm2_vl lfm3 lfm3_vl lfm3_vl_vision
        lightglue lighton_ocr lilt llama llama4 llama4_text llava llava_next llava_next_video llava_onevision
        longcat_flash longformer longt5 luke lw_detr lxmert m2m_100 mamba mamba2 marian markuplm mask2former
        maskformer maskformer-swin mbart megatron-bert mellum metaclip_2 mgp-str mimi mimi_decoder mimi_encoder
        mimo_v2_flash minicpm3 minicpm_ocr minicpm_ocr_vision minicpmv4_6 minicpmv4_7 minicpmv4_7_vision minimax
        minimax_m2 minimax_m3_vl minimax_m3_vl_text ministral ministral3 mistral mistral3 mistral4 mistral_large4
        mistral_large4_text mixtral mlcd mlcd_vision_model mllama mm-grounding-dino mobilebert mobilenet_v1
        mobilenet_v2 mobilevit mobilevitv2 modernbert modernbert-decoder modernvbert molmo2 molmo2_text moonshine
        moshi moss_transcribe_diarize moss_transcribe_diarize_audio mpnet mpt mra mt5 muse_glimmer
        muse_glimmer_assistant muse_glimmer_text muse_glimmer_vision muse_spark muse_spark_audio muse_spark_text
        muse_spark_vision musicflamingo mvp nanochat nemo_speechlm nemotron nemotron3_5_asr
        nemotron3_5_transcribe_asr_audio nemotron3_5_transcribe_audio nemotron3_5_transcribe_word_timestamp
        nemotron3_diarization nemotron3_diarization_audio nemotron_asr_streaming nemotron_asr_streaming_encoder
        nemotron_h nemotron_h_omni neucodec nllb-moe nomic_bert nystromformer olmo olmo2 olmo3 olmo_hybrid olmoe
        oneformer openai-gpt openai_privacy_filter opt ovis2 owlv2 owlvit paddleocr_vl paligemma parakeet_ctc
        parakeet_encoder parakeet_rnnt parakeet_tdt patchtsmixer patchtst pe_audio pe_audio_encoder pegasus
        pegasus_x perceiver persimmon phi phi3 phimoe pi0 pix2struct pixio pixtral plbart pocket_tts
        pocket_tts_audio_tokenizer pocket_tts_audio_tokenizer_decoder pocket_tts_audio_tokenizer_encoder poolformer
        pp_chart2table pp_doclayout_v3 pp_doclayout_v4 pp_formulanet pp_ocrv5_mobile_rec pp_ocrv5_server_rec
        pp_ocrv6_small_det pp_ocrv6_small_rec pp_ocrv6_tiny_rec prophetnet pvt pvt_v2 qianfan_ocr qianfan_ocr_vision
        qwen2 qwen2_5_omni_thinker qwen2_5_vl qwen2_5_vl_text qwen2_5_vl_vision qwen2_audio qwen2_audio_encoder
        qwen2_moe qwen2_vl qwen2_vl_text qwen3 qwen3_5 qwen3_5_moe qwen3_5_moe_text qwen3_5_moe_vision qwen3_5_text
        qwen3_5_vision qwen3_asr qwen3_asr_encoder qwen3_moe qwen3_next qwen3_omni_moe_thinker qwen3_vl qwen3_vl_moe
        qwen3_vl_moe_text qwen3_vl_moe_vision qwen3_vl_text qwen3_vl_vision qwen4_exp_vision radio recurrent_gemma
        reformer regnet rembert resnet rf_detr roberta roberta-prelayernorm roc_bert roformer rt_detr rt_detr_v2
        rwkv sam sam2 sam2_hiera_det_model sam2_video sam2_vision_model sam3_lite_text_text_model sam3_tracker
        sam3_tracker_video sam3_vision_model sam3_vit_model sam_hq sam_hq_vision_model sam_vision_model sapiens2
        seamless_m4t seamless_m4t_v2 seed_oss segformer seggpt sew sew-d shieldgemma2 siglip siglip2
        siglip2_vision_model siglip_vision_model smollm3 smolvlm smolvlm_vision solar_open speech_to_text speecht5
        splinter squeezebert stablelm starcoder2 step3p7 swiftformer swin swin2sr swinv2 switch_transformers t5
        t5gemma t5gemma2 tapas textnet timesfm timesfm2_5 timesformer tipsv2 tipsv2_text_model tipsv2_vision_model
        trocr tvp udop ultrabert ultravbert umt5 unispeech unispeech-sat univnet unlimited_ocr uvdoc vaultgemma
        vibevoice vibevoice_acoustic_tokenizer vibevoice_acoustic_tokenizer_decoder
        vibevoice_acoustic_tokenizer_encoder vibevoice_asr video_llama_3 video_llama_3_vision video_llava videomae
        videoprism videoprism_vision_model vilt vipllava vision-encoder-decoder vision-text-dual-encoder visual_bert
        vit vit_mae vit_msn vitdet vits vivit vjepa2 voxtral voxtral_encoder voxtral_realtime
        voxtral_realtime_encoder wav2vec2 wav2vec2-bert wav2vec2-conformer wavlm whisper xclip xcodec xcodec2 xglm
        xlm xlm-roberta xlm-roberta-xl xlnet xlstm xmod yolos yoso youtu zamba2 zaya
        """

    /// Weights that the generic rule gets wrong: `+` is quantized, `-` is not, `!` only outside of bitsandbytes, and
    /// `~` is the weight of a Conv1D, stored as [in, out].
    static let exceptions = """
        afmoe: +*.router.gate.weight aimv2: -text_projection.weight albert:
        +*.encoder.embedding_hidden_mapping_in.weight altclip: -text_projection.weight aria:
        -*.multihead_attn.out_proj.weight axk2: -*.weights_proj.weight bark: +semantic.lm_head.weight
        +coarse_acoustics.lm_head.weight blip-2: -*.query.weight -*.key.weight -*.value.weight -*.dense.weight blt:
        +*.local_encoder.patch_embedding_projection.weight +*.local_decoder.patch_embedding_projection.weight
        bridgetower: -*.out_proj.weight bros: +bbox_embeddings.bbox_projection.weight camembert:
        +lm_head.dense.weight chinese_clip: -text_projection.weight clip: -text_projection.weight clipseg:
        -text_projection.weight clvp: ~*.c_fc.weight ~*.c_proj.weight +speech_decoder_model.lm_head.weight
        -speech_encoder_model.projection.weight cohere2_vision: -*.attention.out_proj.weight cosmos3_edge:
        +*.embeddings.patch_embedding.weight cosmos3_edge_vision: +embeddings.patch_embedding.weight csm:
        +*.model.inputs_embeds_projector.weight ctrl: -*.w.weight d_fine: +*.gateway.gate.weight dac:
        -*.codebook.weight data2vec-text: +lm_head.dense.weight decision_transformer: ~*.c_attn.weight
        ~*.c_proj.weight ~*.c_fc.weight +embed_return.weight +embed_state.weight +embed_action.weight deepseek_v32:
        -*.weights_proj.weight deepseek_v4: -head.weight -*.wgate.weight -*.compressor.wkv.weight -*.wo_a.weight
        -*.weights_proj.weight deepseek_vl: -*.attention.out_proj.weight deepseek_vl_hybrid:
        -*.attention.out_proj.weight deimv2: +*.gateway.gate.weight edgetam_video: -*.iou_token.weight
        -*.mask_tokens.weight -*.obj_score_token.weight electra: +electra.embeddings_project.weight ernie4_5_vl_moe:
        +*.patch_embed.proj.weight esmc: +lm_head.dense.weight falcon: !*.query_key_value.weight !*.dense.weight
        !*.dense_h_to_4h.weight !*.dense_4h_to_h.weight florence2: -*.shared.weight fnet:
        +*.embeddings.projection.weight fsmt: -*.output_projection.weight fuyu: +vision_embed_tokens.weight gemma3:
        -*.attention.out_proj.weight gemma3n_audio: +*.relative_position_embedding.pos_proj.weight gemma3n_text:
        +*.altup.modality_router.weight gemma4_vision: +patch_embedder.input_proj.weight git: -output.weight
        glm_moe_dsa: -*.weights_proj.weight gpt-sw3: ~*.c_attn.weight ~*.c_proj.weight ~*.c_fc.weight gpt2:
        ~*.c_attn.weight ~*.c_proj.weight ~*.c_fc.weight gradium_phonon_tts: -duration_delta_proj.weight
        -*.in_proj.weight granite_speech: -*.rel_pos_emb.weight granite_speech5_ctc: -*.rel_pos_emb.weight
        -*.out.weight granite_speech5_encoder: -*.rel_pos_emb.weight granite_speech_plus: -*.rel_pos_emb.weight
        grounding-dino: +*.layers.*.weight gte: -*.up_gate_proj.weight -*.qkv_proj.weight +lm_head.dense.weight
        hrm_text: -*.gate_up_proj.weight -*.gqkv_proj.weight hunyuan_v1_moe: +*.gate.wg.weight ibert:
        !*.query.weight !*.key.weight !*.value.weight !*.output.dense.weight !*.intermediate.dense.weight
        +lm_head.dense.weight imagegpt: ~*.c_attn.weight ~*.c_proj.weight ~*.c_fc.weight inkling2:
        +*.embeddings.patch_embedding.weight inkling2_vision: +embeddings.patch_embedding.weight -*.linear_2.weight
        jetmoe: +*.router.layer.weight jina_embeddings_v3: +lm_head.dense.weight -*.Wqkv.weight kimi_k25:
        -*.wqkv.weight -*.fc1.weight kosmos-2.5: -*.segment_emb.weight +*.embeddings.patch_projection.weight
        layoutlmv3: -*.rel_pos_y_bias.weight led: -*.shared.weight lfm2_vl: +*.embeddings.patch_embedding.weight
        -*.attention.out_proj.weight lilt: +layout_embeddings.box_linear_embeddings.weight longcat_flash:
        +*.router.classifier.weight longformer: +lm_head.dense.weight longt5: -shared.weight
        -*.relative_attention_bias.weight luke: +*.entity_embeddings.entity_embedding_dense.weight
        +lm_head.dense.weight lw_detr: +*.layers.*.weight +enc_out_class_embed.*.weight -query_feat.weight m2m_100:
        -*.shared.weight markuplm: +*.xpath_embeddings.xpath_unitseq2_embeddings.weight
        +*.xpath_embeddings.xpath_unitseq2_inner.weight +*.xpath_embeddings.inner2emb.weight mask2former:
        -*.cross_attn.out_proj.weight +*.mask_embedder.*.*.weight -*.queries_features.weight metaclip_2:
        -text_projection.weight minimax_m3_vl: -*.gate_proj.weight -*.up_proj.weight mistral_large4: -output.weight
        -*.weights_proj.weight mistral_large4_text: -*.weights_proj.weight mm-grounding-dino: +*.layers.*.weight
        mobilebert: +*.embeddings.embedding_transformation.weight -*.predictions.dense.weight modernbert-decoder:
        +lm_head.dense.weight modernvbert: -*.attention.out_proj.weight molmo2: -*.ff_proj.weight -*.att_proj.weight
        +*.image_vit.patch_embedding.weight molmo2_text: -*.ff_proj.weight -*.att_proj.weight mpnet:
        -*.relative_attention_bias.weight +lm_head.dense.weight mt5: -shared.weight
        -*.relative_attention_bias.weight -*.wo.weight muse_glimmer: +*.patch_embedder.patch_embedding.weight
        muse_glimmer_vision: +patch_embedder.patch_embedding.weight muse_spark:
        +*.patch_embedder.patch_embedding.weight +*.patch_embedder.proj.weight muse_spark_audio:
        +*.patch_embedder.proj.weight muse_spark_vision: +patch_embedder.patch_embedding.weight nemo_speechlm:
        -*.w_qkv.weight nemotron3_5_transcribe_asr_audio: +embedder.projection.weight nemotron3_5_transcribe_audio:
        +*.embedder.projection.weight nemotron3_diarization: +*.embedder.projection.weight
        nemotron3_diarization_audio: +embedder.projection.weight nemotron_h_omni: +language_model.lm_head.weight
        +*.patch_generator.embedder.weight +*.patch_generator.video_embedder.weight -*.qkv.weight nllb-moe:
        -*.shared.weight +*.router.classifier.weight nomic_bert: -*.Wqkv.weight oneformer:
        +*.decoder.class_embed.weight -*.multihead_attn.out_proj.weight +*.mask_embed.layers.*.*.weight
        -*.query_transformer.decoder.layers.*.self_attn.out_proj.weight openai-gpt: ~*.c_attn.weight
        ~*.c_proj.weight ~*.c_fc.weight owlv2: -text_projection.weight owlvit: -text_projection.weight patchtst:
        +*.embedder.input_embedding.weight pe_audio: +*.embedder.data_proj.weight -*.proj.weight pe_audio_encoder:
        +embedder.data_proj.weight -output.weight pegasus_x: -*.shared.weight pix2struct:
        +*.embeddings.patch_projection.weight -*.relative_attention_bias.weight pocket_tts:
        -audio_latent_proj.weight pp_doclayout_v3: -enc_bbox_head.layers.*.weight -enc_score_head.weight
        pp_doclayout_v4: +*.layers.*.weight +*.class_embed.*.weight prophetnet:
        +*.self_attn.relative_pos_embeddings.weight qianfan_ocr: -*.qkv.weight qwen2_5_omni_thinker:
        -*.audio_bos_eos_token.weight qwen3_asr_encoder: -conv_out.weight radio: +*.patch_generator.embedder.weight
        -*.qkv.weight rembert: +*.encoder.embedding_hidden_mapping_in.weight -*.decoder.weight rf_detr:
        +*.layers.*.weight +*.enc_out_class_embed.*.weight -query_feat.weight roberta: +lm_head.dense.weight
        roberta-prelayernorm: +lm_head.dense.weight roc_bert: +*.embeddings.map_inputs_layer.weight rwkv:
        -head.weight sam: -*.iou_token.weight -*.mask_tokens.weight sam2: -*.iou_token.weight -*.mask_tokens.weight
        -*.obj_score_token.weight sam2_video: -*.iou_token.weight -*.mask_tokens.weight -*.obj_score_token.weight
        sam3_lite_text_text_model: -projection.weight sam3_tracker: -*.iou_token.weight -*.mask_tokens.weight
        -*.obj_score_token.weight sam3_tracker_video: -*.iou_token.weight -*.mask_tokens.weight
        -*.obj_score_token.weight sam_hq: -*.iou_token.weight -*.mask_tokens.weight -*.hq_token.weight sapiens2:
        -*.w12.weight seamless_m4t: -shared.weight seamless_m4t_v2: -shared.weight shieldgemma2:
        -*.attention.out_proj.weight siglip: -*.attention.out_proj.weight siglip2:
        +*.embeddings.patch_embedding.weight -*.attention.out_proj.weight siglip2_vision_model:
        +embeddings.patch_embedding.weight -*.attention.out_proj.weight siglip_vision_model:
        -*.attention.out_proj.weight switch_transformers: -shared.weight -*.relative_attention_bias.weight
        +*.router.classifier.weight t5: -shared.weight -*.relative_attention_bias.weight -*.wo.weight t5gemma2:
        -*.attention.out_proj.weight timesfm: -freq_emb.weight tipsv2: -*.qkv.weight tipsv2_vision_model:
        -*.qkv.weight udop: -shared.weight -*.relative_attention_bias.weight -*.wo.weight ultrabert: -cls.weight
        ultravbert: -*.decoder.weight umt5: -shared.weight -*.relative_attention_bias.weight -*.wo.weight
        unlimited_ocr: -*.qkv_proj.weight vision-text-dual-encoder: -text_projection.weight visual_bert:
        +embeddings.visual_projection.weight vjepa2: +*.embeddings.predictor_embeddings.weight voxtral_realtime:
        -*.linear_2.weight xlm-roberta: +lm_head.dense.weight xlm-roberta-xl: +lm_head.dense.weight xmod:
        +lm_head.dense.weight zaya: +*.router_mlp.fc1.weight +*.router_mlp.fc2.weight +*.router_mlp.out_proj.weight
        """

    /// Modules without a weight of their own in a checkpoint, beside `lm_head`: a loader must be told to leave them.
    static let heads = """
        albert: predictions.decoder bert: cls.predictions.decoder bert-generation: lm_head.decoder big_bird:
        cls.predictions.decoder biogpt: output_projection blip: text_decoder.cls.predictions.decoder blip-2:
        language_model.lm_head camembert: lm_head.decoder convbert: generator_lm_head data2vec-text: lm_head.decoder
        deberta: cls.predictions.decoder deberta-v2: cls.predictions.decoder distilbert: vocab_projector electra:
        generator_lm_head encoder-decoder: decoder.cls.predictions.decoder ernie: cls.predictions.decoder flaubert:
        pred_layer.proj fnet: cls.predictions.decoder granite_speech5_ctc: ctc_head gte: lm_head.decoder ibert:
        lm_head.decoder instructblip: language_model.lm_head instructblipvideo: language_model.lm_head
        jina_embeddings_v3: lm_head.decoder kosmos-2: text_model.lm_head kosmos-2.5: text_model.lm_head layoutlm:
        cls.predictions.decoder longformer: lm_head.decoder luke: entity_predictions.decoder megatron-bert:
        cls.predictions.decoder mobilebert: cls.predictions.decoder modernbert: decoder modernbert-decoder: decoder
        mpnet: lm_head.decoder mra: cls.predictions.decoder nomic_bert: cls.predictions.decoder nystromformer:
        cls.predictions.decoder roberta: lm_head.decoder roberta-prelayernorm: lm_head.decoder roc_bert:
        cls.predictions.decoder roformer: cls.predictions.decoder squeezebert: cls.predictions.decoder t5gemma:
        lm_head.out_proj t5gemma2: lm_head.out_proj tapas: cls.predictions.decoder trocr: output_projection udop:
        decoder.relative_bias.biases.0.relative_attention_bias
        encoder.relative_bias.biases.0.relative_attention_bias vision-encoder-decoder:
        decoder.cls.predictions.decoder whisper: proj_out xlm: pred_layer.proj xlm-roberta: lm_head.decoder
        xlm-roberta-xl: lm_head.decoder xlnet: lm_loss xmod: lm_head.decoder yoso: cls.predictions.decoder
        """

    /// Model types whose output head is the embedding unless `config.json` says otherwise.
    static let tied = """
        bart blenderbot blenderbot-small bloom cohere cohere2 cohere2_moe cohere2_vision ctrl deepseek_vl
        deepseek_vl_hybrid ernie4_5 ernie4_5_moe ernie4_5_vl_moe falcon falcon_mamba florence2 funnel gemma gemma2
        gemma3 gemma3_text gemma3n_text gemma4 gemma4_text gemma4_unified gemma4_unified_text glmasr got_ocr2
        gpt-sw3 gpt2 gpt_bigcode gpt_neo granite_docling granite_speech granite_speech_plus granite_swa
        hyperclovax_vision_v2 internvl janus jetmoe kimi_k25 led lfm2 lfm2_moe lfm2_vl lfm3 lfm3_vl lighton_ocr
        longt5 m2m_100 mamba marian mbart minicpm3 minicpm_ocr mistral3 moss_transcribe_diarize mpt mt5 mvp nllb-moe
        openai-gpt opt ovis2 paddleocr_vl paligemma pegasus pegasus_x plbart pp_chart2table prophetnet qwen3_asr
        recurrent_gemma seamless_m4t seamless_m4t_v2 shieldgemma2 smollm3 starcoder2 switch_transformers t5 udop
        umt5 vaultgemma voxtral_realtime xglm youtu zamba2 zaya
        """
}
